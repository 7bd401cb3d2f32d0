"""Which scopes each endpoint needs: one table, checked once the endpoint is known, so that no way
of writing a path leads around it. An endpoint that is not in it cannot be added.
"""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from teambus_gateway.access.caller import Caller, caller_of
from teambus_gateway.access.scopes import Grants
from teambus_gateway.fields import NO_NUL
from teambus_gateway.problems import Problem, field_problem

OPEN = frozenset(
    {"/", "/health", "/info", "/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"}
)
"""What anybody may ask for, as with AgentOS."""
NO_USER = "Authenticated request is missing a user identity"

Handler: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]
Act: TypeAlias = Literal["read", "run"]


@dataclass(frozen=True, slots=True)
class Rule:
    """`scope` is asked for first; then whether the caller may do this `act` to the team or agent
    in the path. A list shows what the caller may see, if that is anything.
    """

    scope: str | None = None
    act: Act | None = None
    is_list: bool = False
    has_others_work: bool = False
    """Shows the work of all users of a tenant, so nobody sees it who is confined to his own."""

    def check(self, caller: Caller, place: dict[str, Any]) -> None:
        """Raises `Problem` 403."""
        if caller.grants.is_admin:
            return
        kind, id_ = _component(place)
        if self.scope is not None and not self._is_in_scope(caller.grants, kind, id_):
            raise lacking(self.scope)
        if self.has_others_work and caller.is_confined:
            raise Problem(403, "Insufficient permissions: this shows the work of all users")
        if self.act is not None and not caller.grants.allow(f"{kind}s", self.act, id_):
            raise _denied(f"Access denied to {self.act} this {kind}", f"{kind}s:{id_}:{self.act}")

    def _is_in_scope(self, grants: Grants, kind: str, id_: str | None) -> bool:
        assert self.scope is not None
        resource, action = self.scope.split(":")
        if self.is_list:
            return grants.allow_some(resource, action)
        return grants.allow(resource, action, id_ if resource == f"{kind}s" else None)


def lacking(scope: str) -> Problem:
    return _denied(f"Insufficient permissions. Required scope(s): {scope}", scope)


def _denied(detail: str, scope: str) -> Problem:
    problem = Problem(403, detail)
    wanted = "".join(c for c in scope if c.isalnum() or c in ":_-*")
    problem.headers["www-authenticate"] = f'Bearer error="insufficient_scope", scope="{wanted}"'
    return problem


def _component(place: dict[str, Any]) -> tuple[str, str | None]:
    for kind in ("team", "agent"):
        if f"{kind}_id" in place:
            return kind, place[f"{kind}_id"]
    return "", None


def _rules_of(kind: str) -> dict[tuple[str, str], Rule]:
    all_, one = f"/{kind}s", f"/{kind}s/{{{kind}_id}}"
    run = f"{one}/runs/{{run_id}}"
    read, start = f"{kind}s:read", f"{kind}s:run"
    return {
        ("GET", all_): Rule(read, is_list=True),
        ("GET", one): Rule(read, "read"),
        ("POST", f"{one}/runs"): Rule(start, "run"),
        ("GET", f"{one}/runs"): Rule(read, "run"),
        ("GET", run): Rule(read, "run"),
        ("GET", f"{run}/events"): Rule(read, "run"),
        ("GET", f"{run}/hooks"): Rule(read, "run"),
        ("POST", f"{run}/cancel"): Rule(start, "run"),
        ("POST", f"{run}/continue"): Rule(start, "run"),
        ("POST", f"{run}/resume"): Rule(act="run"),
        ("POST", f"{one}/sessions/{{session_id}}/fork"): Rule(act="run"),
    }


_SESSION = "/sessions/{session_id}"
_LETTER = "/dead-letters/{letter_id:path}"
RULES: dict[tuple[str, str], Rule] = {
    **_rules_of("team"),
    **_rules_of("agent"),
    ("GET", "/config"): Rule("config:read"),
    ("GET", "/sessions"): Rule("sessions:read"),
    ("POST", "/sessions"): Rule("sessions:write"),
    ("DELETE", "/sessions"): Rule("sessions:delete"),
    ("GET", _SESSION): Rule("sessions:read"),
    ("PATCH", _SESSION): Rule("sessions:write"),
    ("DELETE", _SESSION): Rule("sessions:delete"),
    ("POST", f"{_SESSION}/rename"): Rule("sessions:write"),
    ("GET", f"{_SESSION}/runs"): Rule("sessions:read"),
    ("GET", f"{_SESSION}/run-previews"): Rule("sessions:read"),
    ("GET", f"{_SESSION}/runs/{{run_id}}"): Rule("sessions:read"),
    ("GET", f"{_SESSION}/media/{{storage_key:path}}"): Rule("sessions:read"),
    ("GET", "/metrics"): Rule("metrics:read"),
    ("POST", "/metrics/refresh"): Rule("metrics:write"),
    ("GET", "/metrics/refresh/status"): Rule("metrics:read"),
    ("GET", "/dead-letters"): Rule("dead_letters:read", has_others_work=True),
    ("GET", _LETTER): Rule("dead_letters:read", has_others_work=True),
    ("POST", "/dead-letters/redrive"): Rule("dead_letters:write", has_others_work=True),
    ("POST", f"{_LETTER}/redrive"): Rule("dead_letters:write", has_others_work=True),
    ("DELETE", _LETTER): Rule("dead_letters:delete", has_others_work=True),
}


class GatedRoute(APIRoute):
    """Answers those who may ask; what they sent is not read before that is known."""

    def get_route_handler(self) -> Handler:
        return self._gated(super().get_route_handler())

    def _gated(self, handler: Callable[[Request], Awaitable[Response]]) -> Handler:
        methods = () if self.path in OPEN else self.methods or ()
        rules = {RULES[method, self.path] for method in methods}

        async def answer(request: Request) -> Response:
            _refuse_nul(request)
            for rule in rules:
                rule.check(caller_of(request), request.path_params)
            return await handler(request)

        return answer


def _refuse_nul(request: Request) -> None:
    """No id has one, and a database that is asked for it may fail."""
    scope = request.scope
    if b"%00" in scope["query_string"]:
        raise field_problem("string_pattern_mismatch", ("query", "*"), NO_NUL, None)
    if "\x00" in scope["path"]:
        raise field_problem("string_pattern_mismatch", ("path", "*"), NO_NUL, None)


class BareRoute(GatedRoute):
    """Hands its endpoint the request as it is. Looking for parameters that none of these endpoints
    declares, and making ready for them, would be a tenth of the gateway's work.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        answer = self.get_route_handler()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            response = await answer(Request(scope, receive, send))
            await response(scope, receive, send)

        self.app = app

    def get_route_handler(self) -> Handler:
        return self._gated(self.endpoint)
