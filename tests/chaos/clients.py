"""How clients of each kind ask, and ask again until they know: over HTTP or over the bus alone."""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx2
import nats.errors
import nats.js.errors
from nats.aio.client import Client

from teambus.contracts.ids import Tenant
from tests.chaos.asks import Ask
from tests.support.sse import EventSource

AGAIN_S = 0.2
LOOK_S = 0.3
REPLY_S = 5
MOVES_SHARE = 0.02
TRANSPORT = (httpx2.TransportError, TimeoutError, AttributeError)
"""The last comes from anyio when a connection is cut just as it is made."""
TERMINAL = ("COMPLETED", "ERROR", "CANCELLED")


class Clients:
    """Any gateway will do, and each try takes one at random."""

    def __init__(
        self,
        gateways: list[httpx2.AsyncClient],
        bus: Mapping[Tenant, Client],
        chance: random.Random,
    ) -> None:
        self._gateways = gateways
        self._bus = bus
        self._chance = chance

    def gateway(self) -> httpx2.AsyncClient:
        return self._chance.choice(self._gateways)

    async def plain(self, ask: Ask) -> None:
        """Waits for the reply; sends the same again until there is one."""
        form = self._form(ask, stream="false")
        if ask.kind == "keyed":
            del form["run_id"]
        reply = await self._until_answered(ask, lambda at: self._post(at, ask, form))
        ask.accepted_at = time.time()
        ask.answer = reply.json()
        ask.run_id = reply.json()["run_id"]

    async def background(self, ask: Ask) -> None:
        """Takes the 202 and polls for the end."""
        form = self._form(ask, stream="false", background="true")
        await self._until_answered(ask, lambda at: self._post(at, ask, form))
        ask.accepted_at = time.time()
        while (ask.answer or {}).get("status") not in TERMINAL:
            await asyncio.sleep(LOOK_S)
            reply = await self._until_answered(ask, lambda at: self._get(at, ask))
            ask.answer = reply.json()

    async def left(self, ask: Ask) -> None:
        """Sends once and is gone, perhaps before the request was heard."""
        form = self._form(ask, stream=self._chance.choice(("true", "false")))
        try:
            async with asyncio.timeout(self._chance.uniform(0.005, 0.3)):
                await self._post(self.gateway(), ask, form)
        except TRANSPORT:
            pass

    async def streamed(self, ask: Ask) -> None:
        """Reads the stream to its last word, through whichever gateway, from where it was cut."""
        while not ask.heard_all:
            try:
                await self._listen(ask)
            except TRANSPORT:
                ask.cuts += 1
                await asyncio.sleep(AGAIN_S)

    async def direct(self, ask: Ask) -> None:
        """A program with a NATS library: publishes until the bus acknowledges, then looks."""
        request = {
            "kind": "run.request.v1",
            "run_id": ask.run_id,
            "input": ask.message,
            "session_id": ask.session_id,
        }
        subject = f"teambus.v1.request.{ask.tenant}.{ask.component}.std"
        headers = {"Nats-Msg-Id": f"{ask.tenant}:{ask.component}:{ask.run_id}"}
        data = json.dumps(request).encode()
        stream = self._bus[ask.tenant].jetstream(timeout=REPLY_S)
        await self._until_heard(ask, lambda: stream.publish(subject, data, headers=headers))
        ask.accepted_at = time.time()
        ask.answer = (await self._end_on_bus(ask))["output"]

    async def started(self, ask: Ask) -> None:
        """Asks the gateways over the bus, and waits by asking them."""
        wanted = {
            "team_id": ask.component,
            "run_id": ask.run_id,
            "input": ask.message,
            "session_id": ask.session_id,
        }
        await self._until_heard(ask, lambda: self._question(ask, "run.start", wanted))
        ask.accepted_at = time.time()
        awaited = {"team_id": ask.component, "run_id": ask.run_id, "timeout_s": REPLY_S}
        end = await self._until_heard(ask, lambda: self._question(ask, "run.wait", awaited))
        ask.answer = end["output"]

    async def cancel(self, ask: Ask) -> None:
        path = f"{ask.path}/{ask.run_id}/cancel"
        await self._until_answered(ask, lambda at: at.post(path))
        ask.cancelled = True

    async def _listen(self, ask: Ask) -> None:
        at = self.gateway()
        if ask.heard:
            headers = {"Last-Event-ID": str(ask.heard[-1][0])}
            request = at.stream("GET", f"{ask.path}/{ask.run_id}/events", headers=headers)
        else:
            ask.repeats += 1
            form = self._form(ask, stream="true", background="true")
            request = at.stream("POST", ask.path, data=form)
        async with request as response:
            if response.status_code != 200:
                await response.aread()
                note_oddity(ask, response)
                await asyncio.sleep(AGAIN_S)
                return
            ask.accepted_at = ask.accepted_at or time.time()
            await self._hear(ask, EventSource(response))

    async def _hear(self, ask: Ask, source: EventSource) -> None:
        """To the end, or until this client changes its gateway."""
        while (event := await source.next()) is not None:
            if event.id is not None:
                ask.heard.append((event.id, event.event))
            elif event.event == "error" and event.data.get("code") != "draining":
                ask.oddities.append(f"stream: {event.raw}")
            if self._chance.random() < MOVES_SHARE:
                break
        ask.cuts += not ask.heard_all

    async def _until_answered(
        self, ask: Ask, request: Callable[[httpx2.AsyncClient], Awaitable[httpx2.Response]]
    ) -> httpx2.Response:
        while True:
            try:
                response = await request(self.gateway())
            except httpx2.ReadTimeout:
                ask.timeouts.append(time.time())
            except TRANSPORT:
                ask.cuts += 1
            else:
                if response.status_code in (200, 202):
                    return response
                note_oddity(ask, response)
            ask.repeats += 1
            await asyncio.sleep(AGAIN_S)

    async def _until_heard(self, ask: Ask, request: Callable[[], Awaitable[Any]]) -> Any:
        while True:
            try:
                return await request()
            except (nats.errors.Error, nats.js.errors.Error, TimeoutError, _Refused):
                ask.repeats += 1
                await asyncio.sleep(AGAIN_S)

    async def _question(self, ask: Ask, verb: str, question: dict[str, Any]) -> dict[str, Any]:
        data = json.dumps(question).encode()
        subject = f"teambus.v1.api.{ask.tenant}.{verb}"
        reply = await self._bus[ask.tenant].request(subject, data, timeout=2 * REPLY_S)
        if "Nats-Service-Error-Code" in (reply.headers or {}):
            raise _Refused(reply.data)
        answer: dict[str, Any] = json.loads(reply.data)
        return answer

    async def _end_on_bus(self, ask: Ask) -> dict[str, Any]:
        subject = f"teambus.v1.event.{ask.tenant}.{ask.component}.{ask.run_id}.completed"
        stream = self._bus[ask.tenant].jetstream(timeout=REPLY_S)
        while True:
            try:
                stored = await stream.get_last_msg("TEAMBUS_EVENTS", subject, direct=True)
            except (nats.errors.Error, nats.js.errors.Error, TimeoutError):
                await asyncio.sleep(LOOK_S)
            else:
                end: dict[str, Any] = json.loads(stored.data or b"")
                return end

    def _form(self, ask: Ask, **more: str) -> dict[str, str]:
        named = {"message": ask.message, "session_id": ask.session_id, "run_id": ask.run_id}
        return {**named, **more}

    async def _post(
        self, at: httpx2.AsyncClient, ask: Ask, form: dict[str, str]
    ) -> httpx2.Response:
        headers = {"Idempotency-Key": ask.run_id} if ask.kind == "keyed" else {}
        return await at.post(ask.path, data=form, headers=headers)

    async def _get(self, at: httpx2.AsyncClient, ask: Ask) -> httpx2.Response:
        params = {"session_id": ask.session_id}
        return await at.get(f"{ask.path}/{ask.run_id}", params=params)


class _Refused(Exception):
    """an error answer to a question on the bus"""


def note_oddity(ask: Ask, response: httpx2.Response) -> None:
    """A refusal that is not the one promised: 503 with when to come again."""
    if response.status_code != 503 or "retry-after" not in response.headers:
        ask.oddities.append(f"{response.status_code}: {response.text[:200]}")
