"""Who may ask: anybody, or whoever has the key."""

import hmac
from typing import Any, Literal, TypeAlias

import msgspec
import structlog
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

log = structlog.get_logger(__name__)

AuthMode: TypeAlias = Literal["none", "security_key"]

OPEN = frozenset(
    {"/", "/health", "/info", "/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"}
)
"""What anybody may ask for, as with AgentOS."""

MISSING = "Authorization header required"
INVALID = "Invalid authentication token"


class RequireKey:
    """Lets through who says the key as a bearer token; the body of who does not is not read."""

    def __init__(self, app: ASGIApp, *, key: str) -> None:
        self._app = app
        self._key = key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
            return
        log.debug("refused", path=scope["path"], detail=refusal)
        body = msgspec.json.encode({"detail": refusal})
        headers = {"www-authenticate": "Bearer"}
        answer = Response(body, 401, headers=headers, media_type="application/json")
        await answer(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        if scope["type"] != "http" or scope["path"] in OPEN:
            return None
        given = Headers(scope=scope).getlist("authorization")
        if not given:
            return MISSING
        scheme, _, token = given[0].partition(" ")
        # Compared in any case, so that the time taken tells nothing of the key.
        is_key = hmac.compare_digest(token.strip().encode("latin-1"), self._key)
        return None if is_key and len(given) == 1 and scheme.lower() == "bearer" else INVALID


def secured(document: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI document that says where the key is needed."""
    components = document.setdefault("components", {})
    components.setdefault("securitySchemes", {})["bearer"] = {"type": "http", "scheme": "bearer"}
    for path, operations in document["paths"].items():
        if path in OPEN:
            continue
        for operation in operations.values():
            operation["security"] = [{"bearer": []}]
            operation["responses"]["401"] = {"description": "No key, or not the key."}
    return document
