"""The HTTP endpoints of sessions. They are asked far less than runs, so FastAPI reads the query."""

from typing import Annotated

from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import Response

from teambus_gateway import session_openapi as openapi
from teambus_gateway.access.caller import caller_of
from teambus_gateway.catalogue import Kind
from teambus_gateway.parts import Parts, json_reply
from teambus_gateway.problems import Problem
from teambus_gateway.session_inputs import (
    ChangeBody,
    CreationBody,
    CreationQuery,
    DeletionBody,
    DeletionPlace,
    ListQuery,
    Place,
    RenamingBody,
    RunsPlace,
    read_json,
    required,
)
from teambus_gateway.session_runs import (
    component_runs,
    run_previews,
    session_run,
    session_runs,
)
from teambus_gateway.sessions import (
    change_session,
    create_session,
    delete_sessions,
    fork_session,
    get_session,
    list_sessions,
)
from teambus_gateway.submission import component_path

UNEVEN = "Session IDs and session types must have the same length"
GONE = 204


def add_session_routes(app: FastAPI, parts: Parts) -> None:
    _add_many(app, parts)
    _add_one(app, parts)
    _add_runs(app, parts)
    _add_of_component(app, parts, "team")
    _add_of_component(app, parts, "agent")


def _add_many(app: FastAPI, parts: Parts) -> None:
    @app.get("/sessions", **openapi.LIST_SESSIONS)
    async def list_(request: Request, query: Annotated[ListQuery, Query()]) -> Response:
        return json_reply(await list_sessions(parts, caller_of(request), query))

    @app.post("/sessions", **openapi.CREATE_SESSION)
    async def create(request: Request, query: Annotated[CreationQuery, Query()]) -> Response:
        body = await read_json(request, parts.form_limits, CreationBody)
        caller = caller_of(request)
        return json_reply(await create_session(parts, caller, query, body or CreationBody()), 201)

    @app.delete("/sessions", **openapi.DELETE_SESSIONS)
    async def delete(request: Request, query: Annotated[DeletionPlace, Query()]) -> Response:
        body = required(await read_json(request, parts.form_limits, DeletionBody))
        if len(body.session_ids) != len(body.session_types):
            raise Problem(400, UNEVEN)
        await delete_sessions(parts, caller_of(request), query, body.session_ids)
        return Response(status_code=GONE)


def _add_one(app: FastAPI, parts: Parts) -> None:
    @app.get("/sessions/{session_id}", **openapi.GET_SESSION)
    async def get(session_id: str, request: Request, query: Annotated[Place, Query()]) -> Response:
        return json_reply(await get_session(parts, caller_of(request), session_id, query))

    @app.patch("/sessions/{session_id}", **openapi.CHANGE_SESSION)
    async def change(
        session_id: str, request: Request, query: Annotated[Place, Query()]
    ) -> Response:
        body = required(await read_json(request, parts.form_limits, ChangeBody))
        caller = caller_of(request)
        return json_reply(await change_session(parts, caller, session_id, query, body))

    @app.post("/sessions/{session_id}/rename", **openapi.RENAME_SESSION)
    async def rename(
        session_id: str, request: Request, query: Annotated[Place, Query()]
    ) -> Response:
        body = required(await read_json(request, parts.form_limits, RenamingBody), "session_name")
        named = ChangeBody(session_name=body.session_name)
        caller = caller_of(request)
        return json_reply(await change_session(parts, caller, session_id, query, named))

    @app.delete("/sessions/{session_id}", **openapi.DELETE_SESSION)
    async def delete(
        session_id: str, request: Request, query: Annotated[DeletionPlace, Query()]
    ) -> Response:
        await delete_sessions(parts, caller_of(request), query, [session_id])
        return Response(status_code=GONE)


def _add_runs(app: FastAPI, parts: Parts) -> None:
    @app.get("/sessions/{session_id}/runs", **openapi.GET_SESSION_RUNS)
    async def runs(
        session_id: str, request: Request, query: Annotated[RunsPlace, Query()]
    ) -> Response:
        return _json(await session_runs(parts, caller_of(request), session_id, query))

    @app.get("/sessions/{session_id}/run-previews", **openapi.GET_PREVIEWS)
    async def previews(
        session_id: str, request: Request, query: Annotated[RunsPlace, Query()]
    ) -> Response:
        return json_reply(await run_previews(parts, caller_of(request), session_id, query))

    @app.get("/sessions/{session_id}/runs/{run_id}", **openapi.GET_SESSION_RUN)
    async def run(
        session_id: str, run_id: str, request: Request, query: Annotated[Place, Query()]
    ) -> Response:
        return _json(await session_run(parts, caller_of(request), session_id, run_id, query))


def _add_of_component(app: FastAPI, parts: Parts, kind: Kind) -> None:
    name = f"{kind}_id"
    path = component_path(kind, f"{{{name}}}")

    @app.get(f"{path}/runs", **openapi.list_runs(kind))
    async def runs(request: Request, session_id: str, status: str | None = None) -> Response:
        id_ = request.path_params[name]
        caller = caller_of(request)
        return _json(await component_runs(parts, caller, kind, id_, session_id, status))

    @app.post(f"{path}/sessions/{{session_id}}/fork", **openapi.fork_session(kind))
    async def fork(request: Request, session_id: str, user_id: str | None = None) -> Response:
        id_ = request.path_params[name]
        caller = caller_of(request)
        return json_reply(await fork_session(parts, caller, kind, id_, session_id, user_id))


def _json(encoded: bytes) -> Response:
    return Response(encoded, media_type="application/json")
