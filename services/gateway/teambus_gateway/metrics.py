"""What the gateway counts of its HTTP requests.

No label is chosen by a client: what nobody serves is one route, methods nobody knows are one.
"""

import time

from prometheus_client import Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from teambus_gateway.door import Door

REQUESTS = Counter(
    "teambus_http_requests", "HTTP requests by what came of them", ["route", "method", "status"]
)
REQUEST_SECONDS = Histogram(
    "teambus_http_request_duration_seconds",
    "From a request's head to the end of its answer, a stream's included",
    ["route", "method"],
    buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 1, 5, 20, 60, 300),
)
IN_PROGRESS = Gauge("teambus_http_requests_in_progress", "HTTP requests that are being answered")

UNKNOWN_ROUTE = "unknown"
OTHER_METHOD = "OTHER"
UNANSWERED = "none"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Counted:
    """Counts and times every request; around all other parts, so that what they refuse counts."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._known: dict[tuple[str, str, int | str], tuple[Counter, Histogram]] = {}
        IN_PROGRESS.set_function(lambda: door.inside)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status: int | str = UNANSWERED

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began = time.perf_counter()
        try:
            await self._app(scope, receive, watch)
        finally:
            requests, seconds = self._of(route_of(scope), method_of(scope), status)
            requests.inc()
            seconds.observe(time.perf_counter() - began)

    def _of(self, route: str, method: str, status: int | str) -> tuple[Counter, Histogram]:
        key = route, method, status
        if (known := self._known.get(key)) is None:
            seconds = REQUEST_SECONDS.labels(route, method)
            known = self._known[key] = REQUESTS.labels(route, method, status), seconds
        return known


def route_of(scope: Scope) -> str:
    """The pattern of the path, as it was declared."""
    return getattr(scope.get("route"), "path", UNKNOWN_ROUTE)


def method_of(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in METHODS else OTHER_METHOD
