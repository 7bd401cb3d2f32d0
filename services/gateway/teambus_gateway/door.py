"""Who is still inside when the gateway stops: what came before is finished, what comes later is
sent to another gateway at once.
"""

import asyncio
from contextlib import suppress

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from teambus_gateway.problems import Problem

UPLOAD_S = 2


class Door:
    """Lets requests in until it is shut: `with` is to be inside while the block runs. Raises
    `Problem` 503 when it is shut.
    """

    def __init__(self, *, retry_after_s: int) -> None:
        self._retry_after_s = retry_after_s
        self._empty = asyncio.Event()
        self._empty.set()
        self.inside = 0
        self.shut = asyncio.Event()

    def __enter__(self) -> None:
        if self.shut.is_set():
            raise self.refusal()
        self.inside += 1
        self._empty.clear()

    def __exit__(self, *_: object) -> None:
        self.inside -= 1
        if not self.inside:
            self._empty.set()

    async def emptied(self, wait_s: float) -> bool:
        """Whether the last one inside leaves within `wait_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._empty.wait()
        return not self.inside

    def refusal(self) -> Problem:
        detail = "this gateway is stopping; ask again, and another one answers"
        return Problem(503, detail, "stopping", retry_after_s=self._retry_after_s)

    def cut_off(self) -> Problem:
        detail = (
            "this gateway stops before the answer was there, so whether the run was accepted is "
            "unknown; send the same request again with an Idempotency-Key, or ask for the run by "
            "its id"
        )
        return Problem(503, detail, "outcome_unknown", retry_after_s=self._retry_after_s)


class Doorkeeper:
    """Turns away what comes when the door is shut, once what they send was read."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            with self._door:
                await self._app(scope, receive, send)
        except Problem as refused:
            await _read_to_the_end(receive)
            refused.headers["connection"] = "close"
            await problem_reply(refused)(scope, receive, send)


def problem_reply(problem: Problem) -> Response:
    return Response(
        problem.body(), problem.status, headers=problem.headers, media_type="application/json"
    )


async def _read_to_the_end(receive: Receive) -> None:
    """A client that is still sending would not hear the answer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(UPLOAD_S):
            while (await receive()).get("more_body"):
                pass
