"""The runs of a session as clients ask for them: all, one, in short, or those of one team."""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from teambus.contracts.ids import RunId, SessionId, TeamId
from teambus.contracts.output import RunStatus
from teambus.contracts.sessions_api import GetPreviews, GetRuns, SessionRuns
from teambus_gateway.access.caller import Caller
from teambus_gateway.catalogue import Kind
from teambus_gateway.parts import Parts
from teambus_gateway.problems import Problem
from teambus_gateway.run_shapes import preview_shape, run_shape, with_members
from teambus_gateway.session_inputs import Place, RunsPlace
from teambus_gateway.session_shapes import without_nulls
from teambus_gateway.shapes import Shape

SHAPED_INLINE_BYTES_MAX = 64 * 1024
"""More runs are put in shape in a thread, so that other requests are answered meanwhile."""

STATUSES = sorted(status.value for status in RunStatus)


async def session_runs(
    parts: Parts, caller: Caller, session_id: SessionId, query: RunsPlace
) -> bytes:
    """Members' runs before the run they are part of."""
    wanted = _statuses(query)
    found = await _find(parts, caller, query, _runs_question(caller, session_id, query))
    if found is None:
        raise Problem(404, f"Session with ID {session_id} not found")

    def shape(runs: Sequence[msgspec.Raw]) -> bytes:
        each = [run for stored in runs for run in with_members(msgspec.json.decode(stored))]
        fit = [
            run for run in each if _fits(run["created_at"], run.get("status", ""), query, wanted)
        ]
        return msgspec.json.encode([without_nulls(run_shape(run)) for run in fit])

    return await _shaped(found.runs, shape)


async def session_run(
    parts: Parts, caller: Caller, session_id: SessionId, run_id: RunId, place: Place
) -> bytes:
    user_id = caller.looks_for(place.user_id)
    question = GetRuns(session_id=session_id, user_id=user_id, run_id=run_id)
    found = await _find(parts, caller, place, question)
    if found is None:
        raise Problem(404, f"Session with ID {session_id} not found")
    if not found.session.runs:
        raise Problem(404, f"Session with ID {session_id} has no runs")
    if not found.runs:
        raise Problem(404, f"Run with ID {run_id} not found in session {session_id}")

    def shape(runs: Sequence[msgspec.Raw]) -> bytes:
        members = with_members(msgspec.json.decode(runs[0]))
        return msgspec.json.encode(run_shape(next(r for r in members if r["run_id"] == run_id)))

    return await _shaped(found.runs, shape)


async def run_previews(
    parts: Parts, caller: Caller, session_id: SessionId, query: RunsPlace
) -> list[Shape]:
    wanted = _statuses(query)
    question = GetPreviews(
        session_id=session_id,
        user_id=caller.looks_for(query.user_id),
        after=query.created_after,
        before=query.created_before,
    )
    db_ids = await parts.databases.any_of(query.chosen)
    found = await parts.databases.first(caller.tenant, db_ids, question)
    if found is None:
        raise Problem(404, f"Session with ID {session_id} not found")
    fit = [run for run in found.runs if _fits(run.created_at, run.status, query, wanted)]
    return [without_nulls(preview_shape(run)) for run in fit]


async def component_runs(
    parts: Parts,
    caller: Caller,
    kind: Kind,
    id_: TeamId,
    session_id: SessionId,
    status: str | None,
) -> bytes:
    """The team's or agent's own runs, not those of members."""
    component = await parts.catalogue.component(kind, id_)
    found = None
    if component.db_id is not None:
        question = GetRuns(session_id=session_id, user_id=caller.confined_to)
        found = await parts.databases.ask(caller.tenant, component.db_id, question)
    if found is None or found.session.component_id != id_:
        raise Problem(404, "Session not found")

    def shape(runs: Sequence[msgspec.Raw]) -> bytes:
        each = [msgspec.json.decode(stored) for stored in runs]
        own = [run for run in each if run["team_id"] == id_]
        fit = [run for run in own if not status or run["status"] == status]
        return msgspec.json.encode([run_shape(run) for run in fit])

    return await _shaped(found.runs, shape)


def _runs_question(caller: Caller, session_id: SessionId, query: RunsPlace) -> GetRuns:
    return GetRuns(
        session_id=session_id,
        user_id=caller.looks_for(query.user_id),
        after=query.created_after,
        before=query.created_before,
    )


async def _find(
    parts: Parts, caller: Caller, place: Place, question: GetRuns
) -> SessionRuns | None:
    db_ids = await parts.databases.any_of(place.chosen)
    return await parts.databases.first(caller.tenant, db_ids, question)


async def _shaped(
    runs: Sequence[msgspec.Raw], shape: Callable[[Sequence[msgspec.Raw]], bytes]
) -> bytes:
    if sum(len(memoryview(run)) for run in runs) <= SHAPED_INLINE_BYTES_MAX:
        return shape(runs)
    return await asyncio.to_thread(shape, runs)


def _statuses(query: RunsPlace) -> set[str]:
    wanted = {status.upper() for status in query.status}
    if unknown := sorted(wanted - set(STATUSES)):
        detail = f"Invalid status value(s) {unknown}; expected one of {STATUSES}"
        raise Problem(400, detail)
    return wanted


def _fits(created_at: int, status: str, query: RunsPlace, wanted: set[str]) -> bool:
    if query.created_after is not None and created_at < query.created_after:
        return False
    if query.created_before is not None and created_at > query.created_before:
        return False
    return not wanted or status in wanted
