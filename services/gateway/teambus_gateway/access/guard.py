"""The guard before all endpoints: nobody gets past it unknown, or too often."""

from typing import Any

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from teambus_gateway.access.admission import Admission
from teambus_gateway.access.caller import CALLER, Caller
from teambus_gateway.access.rates import Rates
from teambus_gateway.access.rules import NO_USER, OPEN
from teambus_gateway.door import problem_reply
from teambus_gateway.problems import Problem

log = structlog.get_logger(__name__)


class Guard:
    """Says in a request's scope who its caller is; the body of who is refused is not read."""

    def __init__(self, app: ASGIApp, *, admission: Admission, rates: Rates | None) -> None:
        self._app = app
        self._admission = admission
        self._anybody = admission.anybody if admission.is_open else None
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN:
            try:
                scope[CALLER] = await self._let_in(scope)
            except Problem as refused:
                log.debug("refused", path=scope["path"], detail=refused.detail)
                await problem_reply(refused)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _let_in(self, scope: Scope) -> Caller:
        caller = self._anybody
        if caller is None:
            given = Headers(scope=scope).getlist("authorization")
            caller = await self._admission.caller(given)
        if self._rates is not None:
            self._rates.take(caller.tenant)
        if caller.is_confined and caller.user_id is None:
            raise Problem(403, NO_USER)
        return caller


def secured(document: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI document that says where a key or token is needed."""
    components = document.setdefault("components", {})
    components.setdefault("securitySchemes", {})["bearer"] = {"type": "http", "scheme": "bearer"}
    for path, operations in document["paths"].items():
        if path in OPEN:
            continue
        for operation in operations.values():
            operation["security"] = [{"bearer": []}]
            operation["responses"]["401"] = {"description": "Nobody known: no key or token."}
            operation["responses"]["403"] = {"description": "The key or token is not for this."}
    return document
