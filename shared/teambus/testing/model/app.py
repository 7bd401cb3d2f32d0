"""What is answered: the API that clients under test call, and the controls that tests call."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec

from teambus.testing.model.calls import Asked, CallLog, ScriptedCall
from teambus.testing.model.connection import (
    CLIENT_GONE,
    EVENT_STREAM,
    STOPPED,
    ClientGone,
    Connection,
    Reply,
    Request,
    refusal,
)
from teambus.testing.model.render import completion, sse_chunks
from teambus.testing.model.rules import Rule, RuleBook, RuleError, parse_rules
from teambus.testing.model.script import scripted_answer
from teambus.testing.model.wire import ApiError, ChatRequest, parse_request

PATIENCE_S = 3600.0
GARBAGE = b"<html>this is not the JSON you are looking for"
PLAIN_RULE = Rule(match="")
CHAT = b"/v1/chat/completions"

# How a call ends, and what is still to be said then.
Ending = tuple[str, Reply | None]

_RELEASE = "/_release/"


class Gates:
    """What held calls wait behind. A gate that was opened stays open until the rules change."""

    def __init__(self) -> None:
        self._opened: dict[str, asyncio.Event] = {}
        self._waiting: dict[str, int] = {}

    def gate(self, name: str) -> asyncio.Event:
        return self._opened.setdefault(name, asyncio.Event())

    def known(self) -> set[str]:
        return {name for name, waiting in self._waiting.items() if waiting}

    def open(self, name: str) -> int:
        """How many calls it lets go on."""
        self.gate(name).set()
        return self._waiting.get(name, 0)

    def shut(self) -> None:
        """Forget the open gates; calls behind a closed one can still be released."""
        self._opened = {name: gate for name, gate in self._opened.items() if not gate.is_set()}

    async def pass_through(self, name: str, connection: Connection) -> bool:
        self._waiting[name] = self._waiting.get(name, 0) + 1
        try:
            return await connection.wait_for(self.gate(name), PATIENCE_S)
        finally:
            self._waiting[name] -= 1


class ModelApp:
    def __init__(self, log: CallLog, rules: RuleBook, *, latency_s: float = 0.0) -> None:
        self._log = log
        self._rules = rules
        self._gates = Gates()
        self._latency_s = latency_s

    def __call__(self, connection: Connection) -> Coroutine[Any, Any, None] | None:
        """Answer; return what is to be awaited where that takes time."""
        asked = connection.request
        if asked.target == CHAT and asked.method == b"POST":
            return self._take_call(connection)
        return self._control(connection)

    def _take_call(self, connection: Connection) -> Coroutine[Any, Any, None] | None:
        body, header = connection.request.body or b"", connection.request.header
        request = _read(body)
        known = None if isinstance(request, ApiError) else request
        call = self._log.begin(Asked(known, body, header(b"authorization"), header(b"user-agent")))
        if isinstance(request, ApiError):
            self._end(connection, call, *_refused(request))
            return None
        rule = self._rules.take(request) or PLAIN_RULE
        if rule.takes_steps:
            return self._take_steps(connection, call, request, rule)

        def answer(cut_short: str | None = None) -> None:
            ending = (cut_short, None) if cut_short else _at_once(request, rule)
            self._end(connection, call, *ending)

        if delay_s := self._delay_s(rule):
            connection.call_after(delay_s, answer)
        else:
            answer()
        return None

    async def _take_steps(
        self, connection: Connection, call: ScriptedCall, request: ChatRequest, rule: Rule
    ) -> None:
        outcome, reply = STOPPED, None
        try:
            outcome, reply = await self._in_steps(connection, request, rule)
        except ClientGone:
            outcome = CLIENT_GONE
        finally:
            self._end(connection, call, outcome, reply)

    def _end(
        self, connection: Connection, call: ScriptedCall, outcome: str, reply: Reply | None
    ) -> None:
        self._log.end(call, outcome)
        if reply is not None:
            connection.reply(reply)

    def _delay_s(self, rule: Rule) -> float:
        return self._latency_s + rule.delay_ms / 1000

    async def _in_steps(self, connection: Connection, request: ChatRequest, rule: Rule) -> Ending:
        if delay_s := self._delay_s(rule):
            await connection.wait(delay_s)
        if rule.hold and not await self._gates.pass_through(rule.hold, connection):
            late = f"held as {rule.hold!r} for {PATIENCE_S:g} s and never released"
            return _refused(ApiError(504, late))
        if rule.hang:
            await connection.wait(PATIENCE_S)
        if rule.hang or rule.drop:
            await connection.drop()
            return "dropped", None
        if rule.is_spoken and (rule.drop_midway or rule.chunk_delay_ms):
            return await _say_slowly(connection, request, rule)
        return _at_once(request, rule)

    async def _control(self, connection: Connection) -> None:
        try:
            told = await self._controlled(connection.request)
        except ApiError as error:
            connection.reply(refusal(error))
        except RuleError as error:
            connection.reply(refusal(ApiError(400, str(error))))
        else:
            connection.reply(Reply(200, told))

    async def _controlled(self, request: Request) -> bytes:
        match request.method, request.path:
            case b"GET", "/v1/models":
                return b'{"object":"list","data":[]}'
            case b"GET", "/_calls":
                return await self._tell_calls(request.query)
            case b"DELETE", "/_calls":
                self._log.forget()
                return b"{}"
            case b"POST", "/_rules":
                return self._replace_rules(parse_rules(request.body or b""))
            case b"DELETE", "/_rules":
                return self._replace_rules(RuleBook())
            case b"POST", path if path.startswith(_RELEASE):
                return self._release(path.removeprefix(_RELEASE))
            case method, path:
                raise ApiError(404, f"there is no {method.decode()} {path} here")

    def _replace_rules(self, rules: RuleBook) -> bytes:
        self._rules = rules
        self._gates.shut()
        return msgspec.json.encode({"rules": len(rules.rules)})

    def _release(self, name: str) -> bytes:
        known = self._rules.holds() | self._gates.known()
        if name not in known:
            raise ApiError(404, f"no rule holds {name!r}; held are: {sorted(known) or 'none'}")
        return msgspec.json.encode({"released": self._gates.open(name)})

    async def _tell_calls(self, query: dict[str, str]) -> bytes:
        since = int(_number(query, "since", self._log.forgotten))
        begun = _number(query, "wait_for", 0)
        ended = _number(query, "wait_for_ended", 0)
        timeout_s = min(_number(query, "timeout_s", 10), PATIENCE_S)

        def reached() -> bool:
            return self._log.begun_since(since) >= begun and self._log.ended_since(since) >= ended

        in_time = await self._log.wait(reached, timeout_s)
        return msgspec.json.encode(self._log.since(since, reached=in_time))


def _read(body: bytes) -> ChatRequest | ApiError:
    """A refused call is a call too, so that the log has it."""
    try:
        return parse_request(body)
    except ApiError as error:
        return error


def _number(query: dict[str, str], name: str, default: float) -> float:
    given = query.get(name)
    try:
        number = default if given is None else float(given)
    except ValueError:
        number = -1.0
    # Not-a-number compares false, so it is refused here as well.
    if not 0 <= number < float("inf"):
        raise ApiError(400, f"{name}={given!r} is not a number of 0 or more")
    return number


def _at_once(request: ChatRequest, rule: Rule) -> Ending:
    if error := rule.api_error():
        return _refused(error)
    if rule.garbage:
        return "garbage", Reply(200, GARBAGE)
    answer = scripted_answer(request) if rule is PLAIN_RULE else rule.answer(request)
    if request.stream:
        return "answered", Reply(200, b"".join(sse_chunks(request, answer)), EVENT_STREAM)
    return "answered", Reply(200, completion(request, answer))


def _refused(error: ApiError) -> Ending:
    return f"status {error.status}", refusal(error)


async def _say_slowly(connection: Connection, request: ChatRequest, rule: Rule) -> Ending:
    answer, pause_s = rule.answer(request), rule.chunk_delay_ms / 1000
    match bool(request.stream), rule.drop_midway:
        case True, False:
            await connection.reply_slowly(sse_chunks(request, answer), pause_s)
        case True, True:
            await connection.break_off_stream(sse_chunks(request, answer), pause_s)
        case False, True:
            await connection.break_off(Reply(200, completion(request, answer)))
        case _:
            return "answered", Reply(200, completion(request, answer))
    return "dropped" if rule.drop_midway else "answered", None
