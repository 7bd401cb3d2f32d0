"""The HTTP endpoints. Routes take the bare request: declared form fields would cost three times
the rest of the gateway's work, so the form is read here and described to OpenAPI by hand.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from teambus.contracts.ids import Tenant
from teambus_gateway import openapi
from teambus_gateway.cancelling import Cancelling
from teambus_gateway.catalogue import Catalogue, Kind
from teambus_gateway.databases import Databases
from teambus_gateway.forms import FormLimits, read_form
from teambus_gateway.lookup import Lookup, Wanted
from teambus_gateway.problems import missing
from teambus_gateway.runs import Runs
from teambus_gateway.shapes import (
    NAME,
    agent_shape,
    component_shape,
    config_shape,
    info_shape,
    run_body,
    team_shape,
)
from teambus_gateway.submission import check_supported, component_path, read_submission

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the endpoints work with."""

    tenant: Tenant
    runs: Runs
    lookup: Lookup
    cancelling: Cancelling
    catalogue: Catalogue
    databases: Databases
    form_limits: FormLimits


def json_reply(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def add_routes(app: FastAPI, parts: Parts) -> None:
    """All endpoints, the most used first."""
    _add_component_routes(app, parts, "team")
    _add_component_routes(app, parts, "agent")

    @app.get("/teams", **openapi.list_components("team"))
    async def list_teams(_: Request) -> Response:
        return json_reply([team_shape(team) for team in parts.catalogue.teams])

    @app.get("/agents", **openapi.list_components("agent"))
    async def list_agents(_: Request) -> Response:
        return json_reply([agent_shape(agent) for agent in parts.catalogue.agents])

    @app.get("/config", **openapi.GET_CONFIG)
    async def get_config(_: Request) -> Response:
        return json_reply(config_shape(parts.catalogue.apps or []))

    @app.get("/info", **openapi.GET_INFO)
    async def get_info(_: Request) -> Response:
        return json_reply(info_shape(parts.catalogue.apps or []))

    _add_plain_routes(app)


def _add_component_routes(app: FastAPI, parts: Parts, kind: Kind) -> None:
    """What teams and agents have alike, each under paths of its own."""
    path = component_path(kind, f"{{{kind}_id}}")

    @app.post(f"{path}/runs", **openapi.run_component(kind))
    async def run_component(request: Request) -> Response:
        return await _run(parts, kind, request)

    @app.get(f"{path}/runs/{{run_id}}", **openapi.get_run(kind))
    async def get_run(request: Request) -> Response:
        return await _get_run(parts, kind, request)

    @app.post(f"{path}/runs/{{run_id}}/cancel", **openapi.cancel_run(kind))
    async def cancel_run(request: Request) -> Response:
        return await _cancel_run(parts, kind, request)

    @app.get(path, **openapi.get_component(kind))
    async def get_component(request: Request) -> Response:
        component = await parts.catalogue.component(kind, request.path_params[f"{kind}_id"])
        return json_reply(component_shape(component))


def _add_plain_routes(app: FastAPI) -> None:
    """What is the same whatever the bus says."""
    instantiated_at = datetime.now(UTC).isoformat().replace("+00:00", "Z")

    @app.get("/", **openapi.GET_HOME)
    async def get_home(_: Request) -> Response:
        return json_reply({"name": NAME, "health": "/health", "info": "/info", "docs": "/docs"})

    @app.get("/health", **openapi.GET_HEALTH)
    async def get_health(_: Request) -> Response:
        return json_reply({"status": "ok", "instantiated_at": instantiated_at})


async def _run(parts: Parts, kind: Kind, request: Request) -> Response:
    form = await read_form(request, parts.form_limits)
    id_ = request.path_params[f"{kind}_id"]
    key = request.headers.get("idempotency-key")
    asked = read_submission(parts.tenant, kind, id_, form, key)
    component = await parts.catalogue.component(kind, id_)
    check_supported(form, asked.path, str(request.base_url))
    structlog.contextvars.bind_contextvars(
        tenant=parts.tenant, team_id=id_, run_id=asked.request.run_id
    )
    end = await parts.runs.answer(asked)
    log.debug("run answered", code=end.code)
    return Response(run_body(component, end.output), media_type="application/json")


async def _get_run(parts: Parts, kind: Kind, request: Request) -> Response:
    session_id = request.query_params.get("session_id")
    if session_id is None:
        raise missing(("query", "session_id"))
    component = await parts.catalogue.component(kind, request.path_params[f"{kind}_id"])
    run_id = request.path_params["run_id"]
    structlog.contextvars.bind_contextvars(tenant=parts.tenant, team_id=component.id, run_id=run_id)
    found = await parts.lookup.find(Wanted(parts.tenant, component, run_id, session_id))
    log.debug("run looked up")
    return Response(found, media_type="application/json")


async def _cancel_run(parts: Parts, kind: Kind, request: Request) -> Response:
    component = await parts.catalogue.component(kind, request.path_params[f"{kind}_id"])
    run_id = request.path_params["run_id"]
    structlog.contextvars.bind_contextvars(tenant=parts.tenant, team_id=component.id, run_id=run_id)
    await parts.cancelling.order(parts.tenant, component.id, run_id)
    log.debug("cancel ordered")
    return json_reply({})
