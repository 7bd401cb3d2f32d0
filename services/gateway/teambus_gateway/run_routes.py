"""The endpoints of runs, the same for every kind of thing that runs."""

import time
from collections.abc import Mapping

import structlog
from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import Response

from teambus.contracts.catalogue import TeamDescription
from teambus_gateway import openapi
from teambus_gateway.access.caller import caller_of
from teambus_gateway.access.rules import BareRoute
from teambus_gateway.attachments import read_attachments
from teambus_gateway.catalogue import Description, Kind
from teambus_gateway.continuing import check_before, read_continuing
from teambus_gateway.fields import integer
from teambus_gateway.forms import read_form
from teambus_gateway.lookup import Wanted
from teambus_gateway.parts import Parts, json_reply
from teambus_gateway.problems import Problem, missing
from teambus_gateway.run_forms import RUN_FORM, Words, continue_form
from teambus_gateway.run_hooks import not_ended
from teambus_gateway.shapes import run_body
from teambus_gateway.sse import Chunks, EventStream, meta_lines
from teambus_gateway.submission import (
    Submission,
    check_supported,
    component_path,
    read_submission,
)
from teambus_gateway.teller import Teller

log = structlog.get_logger(__name__)

NAMES_SHOWN_MAX = 20


def add_run_routes(app: FastAPI, parts: Parts, kind: Kind) -> None:
    """All endpoints of the runs of one kind."""
    router = APIRouter(route_class=BareRoute)
    runs = f"{component_path(kind, f'{{{kind}_id}}')}/runs"

    @router.post(runs, **openapi.run_component(kind))
    async def submit_run(request: Request) -> Response:
        return await _submit(parts, kind, request)

    @router.get(f"{runs}/{{run_id}}", **openapi.get_run(kind))
    async def get_run(request: Request) -> Response:
        return await _poll(parts, kind, request)

    @router.post(f"{runs}/{{run_id}}/resume", **openapi.resume_run(kind))
    async def resume_run(request: Request) -> Response:
        return await _resume(parts, kind, request)

    @router.post(f"{runs}/{{run_id}}/cancel", **openapi.cancel_run(kind))
    async def cancel_run(request: Request) -> Response:
        return await _cancel(parts, kind, request)

    @router.post(f"{runs}/{{run_id}}/continue", **openapi.continue_run(kind))
    async def continue_run(request: Request) -> Response:
        return await _continue(parts, kind, request)

    @router.get(f"{runs}/{{run_id}}/events", **openapi.get_run_events(kind))
    async def get_run_events(request: Request) -> Response:
        return await _events(parts, kind, request)

    @router.get(f"{runs}/{{run_id}}/hooks", **openapi.get_run_hooks(kind))
    async def get_run_hooks(request: Request) -> Response:
        return await _hooks(parts, kind, request)

    # Not as a router inside a router, which would be looked through twice.
    app.router.routes.extend(router.routes)


async def _submit(parts: Parts, kind: Kind, request: Request) -> Response:
    component, asked = await _asked(parts, kind, request)
    return await _reply(parts, component, asked, is_indexed=asked.background)


async def _reply(
    parts: Parts, component: Description, asked: Submission, *, is_indexed: bool
) -> Response:
    structlog.contextvars.bind_contextvars(
        tenant=asked.tenant, team_id=component.id, run_id=asked.request.run_id
    )
    if asked.request.stream:
        teller = Teller(component, asked.key, indexed=is_indexed, all_events=asked.stream_events)
        return _stream(parts, parts.streams.submitted(teller, asked))
    if asked.background:
        return await _begin(parts, asked)
    end = await parts.runs.answer(asked)
    log.debug("run answered", code=end.code)
    return Response(run_body(component, end.output), media_type="application/json")


async def _asked(parts: Parts, kind: Kind, request: Request) -> tuple[Description, Submission]:
    """Who is asked, and the submission, its files stored. They are not in memory any more while it
    is waited for.
    """
    id_ = request.path_params[f"{kind}_id"]
    with parts.room.hold() as hold:
        form = await read_form(request, parts.form_limits, hold)
        _log_ignored(form.fields, RUN_FORM)
        attachments = await read_attachments(form, parts.media_limits)
        key = request.headers.get("idempotency-key")
        asked = read_submission(caller_of(request), kind, id_, form, key, attachments)
        component = await _component(parts, kind, request)
        check_supported(form)
        if asked.background and component.db_id is None:
            detail = f"Background execution requires a database to be configured on the {kind}"
            raise Problem(400, detail)
        await parts.media.put(asked.request.run_id, attachments)
    return component, asked


async def _begin(parts: Parts, asked: Submission) -> Response:
    status = await parts.runs.begin(asked)
    run_id, session_id = asked.request.run_id, asked.request.session_id
    return json_reply(
        {"run_id": run_id, "session_id": session_id, "status": status.value}, status=202
    )


async def _continue(parts: Parts, kind: Kind, request: Request) -> Response:
    """A new run that goes on with another. As AgentOS does, a stream is begun before it is known
    whether there is anything to go on with.
    """
    fields = (await read_form(request, parts.form_limits)).fields
    _log_ignored(fields, continue_form(kind))
    place = request.path_params[f"{kind}_id"], request.path_params["run_id"]
    key = request.headers.get("idempotency-key")
    continuing = read_continuing(caller_of(request), kind, place, fields, key)
    asked = continuing.asked
    wanted = await _wanted(parts, kind, request, asked.request.session_id)
    try:
        await check_before(parts.lookup, wanted, continuing)
    except Problem as problem:
        if problem.status >= 500 or not asked.request.stream:
            raise
        return _stream(parts, _refused(wanted, problem))
    return await _reply(parts, wanted.component, asked, is_indexed=continuing.is_indexed)


async def _poll(parts: Parts, kind: Kind, request: Request) -> Response:
    session_id = request.query_params.get("session_id")
    if session_id is None:
        raise missing(("query", "session_id"))
    wanted = await _wanted(parts, kind, request, session_id)
    found = await parts.lookup.find(wanted)
    log.debug("run looked up")
    return Response(found, media_type="application/json")


async def _cancel(parts: Parts, kind: Kind, request: Request) -> Response:
    wanted = await _wanted(parts, kind, request, request.query_params.get("session_id") or None)
    await _check_own(parts, wanted)
    await parts.cancelling.order(wanted.tenant, wanted.component.id, wanted.run_id)
    log.debug("cancel ordered")
    return json_reply({})


async def _resume(parts: Parts, kind: Kind, request: Request) -> Response:
    fields = (await read_form(request, parts.form_limits)).fields
    after = _after(integer("last_event_index", fields.get("last_event_index", "")))
    wanted = await _wanted(parts, kind, request, fields.get("session_id") or None)
    await _check_own(parts, wanted)
    try:
        standing = await parts.lookup.standing(wanted)
    except Problem as problem:
        if problem.status != 404:
            raise
        return _stream(parts, _unknown(wanted))
    teller = Teller(wanted.component, wanted.key, indexed=True)
    return _stream(parts, parts.streams.resumed(teller, standing, after))


async def _events(parts: Parts, kind: Kind, request: Request) -> Response:
    """Says 204 to a client that has had everything: a browser would come back for ever."""
    given = request.headers.get("last-event-id", "")
    place, name = "header", "Last-Event-ID"
    if not given:
        place, name = "query", "last_event_index"
        given = request.query_params.get(name, "")
    after = _after(integer(name, given, place))
    wanted = await _wanted(parts, kind, request, request.query_params.get("session_id") or None)
    standing = await parts.lookup.standing(wanted)
    teller = Teller(wanted.component, wanted.key, indexed=True)
    if await parts.streams.has_all(teller, standing, after):
        return Response(status_code=204)
    return _stream(parts, parts.streams.followed(teller, standing, after))


async def _hooks(parts: Parts, kind: Kind, request: Request) -> Response:
    wanted = await _wanted(parts, kind, request, None)
    if wanted.user_id is not None:
        await parts.lookup.standing(wanted)
    hooks = parts.catalogue.hooks_of(wanted.component.id)
    told = await parts.run_hooks.of_ended(wanted, hooks)
    if told is None:
        standing = await parts.lookup.standing(wanted)
        told = not_ended(wanted.run_id, standing.status.value, hooks)
    return json_reply(told)


async def _wanted(parts: Parts, kind: Kind, request: Request, session_id: str | None) -> Wanted:
    component = await _component(parts, kind, request)
    run_id = request.path_params["run_id"]
    caller = caller_of(request)
    structlog.contextvars.bind_contextvars(
        tenant=caller.tenant, team_id=component.id, run_id=run_id
    )
    return Wanted(caller.tenant, component, run_id, session_id, caller.confined_to)


async def _check_own(parts: Parts, wanted: Wanted) -> None:
    """Raises `Problem` where AgentOS does for who has only what is his own: 400 without a session,
    404 for another's run.
    """
    if wanted.user_id is None:
        return
    if wanted.session_id is None:
        raise Problem(400, "session_id is required for this action")
    await parts.lookup.standing(wanted)


async def _component(parts: Parts, kind: Kind, request: Request) -> Description:
    return await parts.catalogue.component(kind, request.path_params[f"{kind}_id"])


def _stream(parts: Parts, chunks: Chunks) -> EventStream:
    return EventStream(chunks, stall_s=parts.streams.limits.stall_s)


async def _unknown(wanted: Wanted) -> Chunks:
    yield meta_lines("error", error=f"Run {wanted.run_id} not found in buffer or database")


async def _refused(wanted: Wanted, problem: Problem) -> Chunks:
    """A stream of a run that is not to be: one event, of the kind a failed run ends with."""
    who, is_team = wanted.component, isinstance(wanted.component, TeamDescription)
    kind, event = ("team", "TeamRunError") if is_team else ("agent", "RunError")
    yield meta_lines(
        event,
        created_at=int(time.time()),
        **{f"{kind}_id": who.id, f"{kind}_name": who.name, "run_id": wanted.run_id},
        nested_depth=0,
        content=problem.detail,
    )


def _log_ignored(fields: Mapping[str, str], form: Words) -> None:
    if unknown := fields.keys() - form["properties"].keys():
        log.debug("form fields ignored", names=sorted(unknown)[:NAMES_SHOWN_MAX])


def _after(last_event_index: int | None) -> int:
    return -1 if last_event_index is None else max(-1, last_event_index)
