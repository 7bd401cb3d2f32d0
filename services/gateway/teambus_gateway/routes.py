"""The HTTP endpoints. Routes take the bare request: declared form fields would cost three times
the rest of the gateway's work, so the form is read here and described to OpenAPI by hand.
"""

from datetime import UTC, datetime

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from teambus_gateway import openapi
from teambus_gateway.access.caller import caller_of
from teambus_gateway.catalogue import Kind
from teambus_gateway.parts import Parts, json_reply
from teambus_gateway.run_routes import add_run_routes
from teambus_gateway.shapes import (
    Security,
    agent_shape,
    component_shape,
    config_shape,
    home_shape,
    info_shape,
    team_shape,
)
from teambus_gateway.submission import component_path


def add_routes(app: FastAPI, parts: Parts, security: Security) -> None:
    """All endpoints, the most used first."""
    _add_component_routes(app, parts, "team")
    _add_component_routes(app, parts, "agent")

    @app.get("/teams", **openapi.list_components("team"))
    async def list_teams(request: Request) -> Response:
        grants = caller_of(request).grants
        shown = [team for team in parts.catalogue.teams if grants.allow("teams", "read", team.id)]
        return json_reply([team_shape(team) for team in shown])

    @app.get("/agents", **openapi.list_components("agent"))
    async def list_agents(request: Request) -> Response:
        grants = caller_of(request).grants
        shown = [each for each in parts.catalogue.agents if grants.allow("agents", "read", each.id)]
        return json_reply([agent_shape(agent) for agent in shown])

    @app.get("/config", **openapi.GET_CONFIG)
    async def get_config(request: Request) -> Response:
        grants = caller_of(request).grants
        return json_reply(config_shape(parts.catalogue.apps or [], grants))

    @app.get("/info", **openapi.GET_INFO)
    async def get_info(_: Request) -> Response:
        return json_reply(info_shape(parts.catalogue.apps or [], security))

    _add_plain_routes(app, parts)


def _add_component_routes(app: FastAPI, parts: Parts, kind: Kind) -> None:
    """What teams and agents have alike, each under paths of its own."""
    path = component_path(kind, f"{{{kind}_id}}")

    add_run_routes(app, parts, kind)

    @app.get(path, **openapi.get_component(kind))
    async def get_component(request: Request) -> Response:
        component = await parts.catalogue.component(kind, request.path_params[f"{kind}_id"])
        return json_reply(component_shape(component))


def _add_plain_routes(app: FastAPI, parts: Parts) -> None:
    """What is the same whatever the bus says."""
    instantiated_at = datetime.now(UTC).isoformat().replace("+00:00", "Z")

    @app.get("/", **openapi.GET_HOME)
    async def get_home(_: Request) -> Response:
        return json_reply(home_shape(parts.catalogue.apps or []))

    @app.get("/health", **openapi.GET_HEALTH)
    async def get_health(_: Request) -> Response:
        return json_reply({"status": "ok", "instantiated_at": instantiated_at})
