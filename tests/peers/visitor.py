"""Someone who asks a server of the office things, and writes down every answer."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx2

from tests.peers.agentos import Served
from tests.peers.answers import Names, plain, sse_frames
from tests.support.system import until

TIMEOUT_S = 60
ENDED = ("COMPLETED", "ERROR", "CANCELLED")


class Visitor:
    """Each step has a name, the same at both servers; ids in answers are named after it."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.answers: dict[str, Any] = {}
        self.bodies: dict[str, Any] = {}
        self._names = Names()
        self._client = httpx2.AsyncClient(base_url=served.url, timeout=TIMEOUT_S)

    async def __aenter__(self) -> Self:
        await self.served.model.reset()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def rules(self, rules: Sequence[Mapping[str, object]]) -> None:
        """What the model is to say from now on."""
        await self.served.model.rules(rules)

    async def get(self, step: str, path: str, **query: str) -> Any:
        return await self.ask(step, "GET", path, params=query)

    async def post(self, step: str, path: str, **form: str) -> Any:
        return await self.ask(step, "POST", path, data=form)

    async def run(self, step: str, message: str, *, team: str = "content-team", **form: str) -> Any:
        """A run of a team, not streamed unless asked for."""
        return await self.post(
            step, f"/teams/{team}/runs", **{"message": message, "stream": "false", **form}
        )

    async def send(
        self, step: str, method: str, path: str, value: dict[str, Any], **query: str
    ) -> Any:
        """A request with a JSON body."""
        return await self.ask(step, method, path, json=value, params=query)

    async def ended(self, path: str, **query: str) -> None:
        """Wait until the run at `path` has ended. What is polled is not written down."""

        async def has_ended() -> bool:
            return (await self._client.get(path, params=query)).json().get("status") in ENDED

        await until(has_ended, TIMEOUT_S, f"{path} did not end")

    async def model_is_asked(self, text: str) -> None:
        """Wait until the model is at work on this text; rules may hold it there."""

        async def is_asked() -> bool:
            calls = await self.served.model.calls()
            return any(call.last_content == text and call.outcome is None for call in calls)

        await until(is_asked, TIMEOUT_S, f"the model was not asked {text!r}")

    async def follow(self, step: str, path: str, subscribed: asyncio.Event, **form: str) -> None:
        """Resume a stream to its end, and say when it has come to what happens now."""
        async with self._client.stream("POST", path, data=form) as response:
            text = ""
            async for piece in response.aiter_text():
                text += piece
                if "event: subscribed" in text:
                    subscribed.set()
        kind = response.headers.get("content-type", "")
        self._note(step, response.status_code, kind, sse_frames(text))

    async def ask(self, step: str, method: str, path: str, **more: Any) -> Any:
        """The answer's body, as the server said it. Kept with its ids named, too."""
        response = await self._client.request(method, path, **more)
        kind = response.headers.get("content-type", "")
        body = _body(response, kind)
        self._note(step, response.status_code, kind, body)
        return body

    def _note(self, step: str, status: int, kind: str, body: Any) -> None:
        assert step not in self.answers, f"{step!r} was asked before"
        self.bodies[step] = body
        self._names.learn(step, body)
        told = {"status": status, "content-type": kind, "body": body}
        self.answers[step] = plain(told, self._names)


def _body(response: httpx2.Response, kind: str) -> Any:
    if kind.startswith("text/event-stream"):
        return sse_frames(response.text)
    is_json = kind == "application/json" and response.content
    return response.json() if is_json else response.text


async def play(served: Served, chapter: Callable[[Visitor], Awaitable[None]]) -> dict[str, Any]:
    """The answers to what a chapter asks. A step that breaks it off stands there with its error."""
    async with Visitor(served) as visitor:
        try:
            await chapter(visitor)
        except (AssertionError, LookupError, TypeError, ValueError) as error:
            visitor.answers["broken off"] = f"{served.name}: {error!r}"
    return visitor.answers
