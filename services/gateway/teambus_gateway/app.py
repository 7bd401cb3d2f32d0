"""The web application: endpoints, errors and cross-origin rules around them."""

import asyncio
import math
from typing import Any

import msgspec
import structlog
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from teambus_gateway.access.guard import Guard, secured
from teambus_gateway.access.rates import Rates
from teambus_gateway.access.rules import GatedRoute
from teambus_gateway.access.shield import Shield
from teambus_gateway.door import Door, Doorkeeper, problem_reply
from teambus_gateway.letter_routes import add_letter_routes
from teambus_gateway.metrics import Counted
from teambus_gateway.parts import Parts
from teambus_gateway.problems import Problem
from teambus_gateway.routes import add_routes
from teambus_gateway.session_media import add_media_routes
from teambus_gateway.session_routes import add_session_routes
from teambus_gateway.settings import GatewaySettings
from teambus_gateway.shapes import Security
from teambus_gateway.traced import Traced
from teambus_gateway.usage_routes import add_usage_routes

log = structlog.get_logger(__name__)


def make_app(parts: Parts, settings: GatewaySettings) -> FastAPI:
    app = FastAPI(title="teambus", version="0.1.0", description="Teams of agents on NATS.")
    app.router.route_class = GatedRoute
    add_routes(app, parts, Security(settings.auth_mode, is_confining=settings.user_isolation))
    add_session_routes(app, parts)
    add_media_routes(app, parts)
    add_usage_routes(app, parts)
    add_letter_routes(app, parts)
    app.add_exception_handler(Problem, _answer_problem)
    app.add_middleware(Guard, admission=parts.admission, rates=_rates(settings))
    if not parts.admission.is_open:
        _describe_key(app)
    app.add_middleware(AnswerUnexpected, door=parts.door)
    app.add_middleware(Doorkeeper, door=parts.door)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(settings.origins),
        allow_credentials=True,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=["*"],
    )
    app.add_middleware(Shield, hsts_s=settings.hsts_s)
    if parts.tracer is not None:
        app.add_middleware(Traced, tracer=parts.tracer)
    app.add_middleware(Counted, door=parts.door)
    return app


def _rates(settings: GatewaySettings) -> Rates | None:
    per_s = settings.requests_per_s
    if per_s is None:
        return None
    return Rates(per_s, settings.requests_burst or max(1, math.ceil(per_s)))


def _describe_key(app: FastAPI) -> None:
    describe = app.openapi

    def described() -> dict[str, Any]:
        return secured(describe())

    setattr(app, "openapi", described)  # noqa: B010 - FastAPI's own way to change its document


async def _answer_problem(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem), problem
    if problem.status >= 500:
        log.warning("could not answer", status=problem.status, code=problem.code)
    else:
        log.debug("refused", status=problem.status, detail=problem.detail)
    return problem_reply(problem)


class AnswerUnexpected:
    """Turns an exception nobody expected into a 500 that names its class, and logs the rest. Who is
    cut off when the drain is over is told to ask again.
    """

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except asyncio.CancelledError:
            if started or not self._door.shut.is_set():
                raise
            await problem_reply(self._door.cut_off())(scope, receive, send)
        except Exception as error:  # The edge of our code: nothing else answers the client.
            log.error("unexpected error", path=scope.get("path"), exc_info=error)
            if started or scope["type"] != "http":
                raise
            detail = f"Internal server error ({type(error).__name__})"
            body = msgspec.json.encode({"detail": detail})
            await Response(body, 500, media_type="application/json")(scope, receive, send)
