"""Headers that tell browsers and caches to be careful with every answer."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from teambus_gateway.access.rules import OPEN

DOCUMENTS = frozenset({"/docs", "/redoc", "/docs/oauth2-redirect"})
_CDN = "https://cdn.jsdelivr.net"
_STRICT = "default-src 'none'; frame-ancestors 'none'"
_FOR_DOCUMENTS = (
    f"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; connect-src 'self'; "
    f"script-src 'unsafe-inline' {_CDN}; worker-src blob:; "
    f"style-src 'unsafe-inline' {_CDN} https://fonts.googleapis.com; "
    f"font-src https://fonts.gstatic.com; img-src data: https:"
)
"""What the pages that FastAPI serves load, and nothing more."""


class Shield:
    """Adds them where an endpoint has not said otherwise."""

    def __init__(self, app: ASGIApp, *, hsts_s: int) -> None:
        self._app = app
        always = {
            b"x-content-type-options": b"nosniff",
            b"x-frame-options": b"DENY",
            b"referrer-policy": b"no-referrer",
        }
        if hsts_s:
            always[b"strict-transport-security"] = b"max-age=%d; includeSubDomains" % hsts_s
        policy = b"content-security-policy"
        self._of_documents = [*always.items(), (policy, _FOR_DOCUMENTS.encode())]
        self._of_open = [*always.items(), (policy, _STRICT.encode())]
        self._of_rest = [*self._of_open, (b"cache-control", b"no-store")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        more = self._headers(scope["path"])

        async def shielded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = message.setdefault("headers", [])
                said = {name.lower() for name, _ in given}
                message["headers"] = [*given, *(each for each in more if each[0] not in said)]
            await send(message)

        await self._app(scope, receive, shielded)

    def _headers(self, path: str) -> list[tuple[bytes, bytes]]:
        if path in DOCUMENTS:
            return self._of_documents
        return self._of_open if path in OPEN else self._of_rest
