"""The ASGI app: the API that clients under test call, and the controls that tests call."""

import asyncio

import msgspec

from teambus.testing.model.calls import CallLog
from teambus.testing.model.connection import JSON, ClientGone, Connection, Receive, Scope, Send
from teambus.testing.model.render import completion, sse_chunks
from teambus.testing.model.rules import Rule, RuleBook, RuleError, parse_rules
from teambus.testing.model.script import Answer, scripted_answer
from teambus.testing.model.wire import ApiError, ChatRequest, digest_of, parse_request

PATIENCE_S = 3600.0
GARBAGE = b"<html>this is not the JSON you are looking for"
PLAIN_RULE = Rule(match="")

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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = Connection(scope, receive, send)
        try:
            await self._route(connection)
        except ClientGone:
            return
        except (ApiError, RuleError) as error:
            told = error if isinstance(error, ApiError) else ApiError(400, str(error))
            await connection.reply_error(told)

    async def _route(self, connection: Connection) -> None:
        match connection.method, connection.path:
            case "POST", "/v1/chat/completions":
                await self._take_call(connection)
            case "GET", "/v1/models":
                await connection.reply(200, b'{"object":"list","data":[]}')
            case "GET", "/_calls":
                await self._tell_calls(connection)
            case "DELETE", "/_calls":
                self._log.forget()
                await connection.reply(200, b"{}")
            case "POST", "/_rules":
                await self._replace_rules(connection, parse_rules(await connection.body()))
            case "DELETE", "/_rules":
                await self._replace_rules(connection, RuleBook())
            case "POST", path if path.startswith(_RELEASE):
                await self._release(connection, path.removeprefix(_RELEASE))
            case method, path:
                raise ApiError(404, f"there is no {method} {path} here")

    async def _take_call(self, connection: Connection) -> None:
        body = await connection.body()
        request = _read(body)
        known = None if isinstance(request, ApiError) else request
        call = self._log.begin(known, digest_of(body), connection.headers)
        outcome = "stopped"
        try:
            if isinstance(request, ApiError):
                raise request
            outcome = await self._answer(connection, request, call.digest)
        except ApiError as error:
            outcome = f"status {error.status}"
            await connection.reply_error(error)
        except ClientGone:
            outcome = "client gone"
        except asyncio.CancelledError:
            # The server is stopping. A client must see that, not an error the script never told.
            connection.close()
            raise
        finally:
            self._log.end(call, outcome)

    async def _answer(self, connection: Connection, request: ChatRequest, digest: str) -> str:
        rule = self._rules.take(request) or PLAIN_RULE
        if delay_s := self._latency_s + rule.delay_ms / 1000:
            await connection.wait(delay_s)
        if rule.hold and not await self._gates.pass_through(rule.hold, connection):
            raise ApiError(504, f"held as {rule.hold!r} for {PATIENCE_S:g} s and never released")
        if rule.hang:
            await connection.wait(PATIENCE_S)
        if rule.hang or rule.drop:
            await connection.drop()
            return "dropped"
        if error := rule.api_error():
            raise error
        if rule.garbage:
            await connection.reply(200, GARBAGE, (JSON,))
            return "garbage"
        answer = scripted_answer(request) if rule is PLAIN_RULE else rule.answer(request)
        return await _say(connection, request, answer, rule, digest)

    async def _replace_rules(self, connection: Connection, rules: RuleBook) -> None:
        self._rules = rules
        self._gates.shut()
        await connection.reply(200, msgspec.json.encode({"rules": len(rules.rules)}))

    async def _release(self, connection: Connection, name: str) -> None:
        known = self._rules.holds() | self._gates.known()
        if name not in known:
            raise ApiError(404, f"no rule holds {name!r}; held are: {sorted(known) or 'none'}")
        await connection.reply(200, msgspec.json.encode({"released": self._gates.open(name)}))

    async def _tell_calls(self, connection: Connection) -> None:
        since = int(_number(connection, "since", self._log.forgotten))
        begun = _number(connection, "wait_for", 0)
        ended = _number(connection, "wait_for_ended", 0)
        timeout_s = min(_number(connection, "timeout_s", 10), PATIENCE_S)

        def reached() -> bool:
            return self._log.begun_since(since) >= begun and self._log.ended_since(since) >= ended

        in_time = await self._log.wait(reached, timeout_s)
        told = self._log.since(since, reached=in_time)
        await connection.reply(200, msgspec.json.encode(told))


def _read(body: bytes) -> ChatRequest | ApiError:
    """A refused call is a call too, so that the log has it."""
    try:
        return parse_request(body)
    except ApiError as error:
        return error


def _number(connection: Connection, name: str, default: float) -> float:
    given = connection.query.get(name)
    try:
        number = default if given is None else float(given)
    except ValueError:
        number = -1.0
    # Not-a-number compares false, so it is refused here as well.
    if not 0 <= number < float("inf"):
        raise ApiError(400, f"{name}={given!r} is not a number of 0 or more")
    return number


async def _say(
    connection: Connection, request: ChatRequest, answer: Answer, rule: Rule, digest: str
) -> str:
    pause_s = rule.chunk_delay_ms / 1000
    match bool(request.stream), rule.drop_midway:
        case True, False:
            await connection.reply_stream(sse_chunks(request, answer, digest), pause_s=pause_s)
        case False, False:
            await connection.reply(200, completion(request, answer, digest))
        case True, True:
            chunks = sse_chunks(request, answer, digest)
            await connection.break_off_stream(chunks, pause_s=pause_s)
        case _:
            await connection.break_off_reply(completion(request, answer, digest))
    return "dropped" if rule.drop_midway else "answered"
