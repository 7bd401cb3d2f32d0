"""Going on with a run that has ended: found in its session, and kept of it what the new one begins
with.
"""

import dataclasses

from teambus.contracts.ids import RunId
from teambus.contracts.output import RunStatus, TeamRunInput, TeamRunOutput
from teambus.contracts.run import Continuation
from teambus.domain.continuation import (
    ContinuationRefused,
    NotContinuable,
    boundary,
    check_status,
    not_found,
)
from teambus_team_runner.asked import Asked
from teambus_team_runner.databases import Databases
from teambus_team_runner.engine.ports import Continued, RunStart
from teambus_team_runner.sessions import LoadedSession

RUN_NOT_FOUND = "run_not_found"
RUN_NOT_CONTINUABLE = "run_not_continuable"
WRONG_CONTINUATION = "wrong_continuation"


class CannotContinue(Exception):
    """the run that is asked to be gone on with is not there, or is not fit for it"""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


async def load(
    databases: Databases, asked: Asked, *, history_runs: int
) -> tuple[LoadedSession, TeamRunOutput | None]:
    """The session, and the run that this one goes on with, if it does.

    Raises `CannotContinue`, `SessionNotFound`, `StoreUnavailable`, `StoreUnfit`.
    """
    continues = asked.request.continues
    # Of what is kept of a run the model needs no reminder.
    more = history_runs + 1 if continues and history_runs else history_runs
    session = await databases.load(
        asked.tenant,
        asked.session_id,
        team_id=asked.team_id,
        user_id=asked.request.user_id,
        history_runs=more,
    )
    if continues is None:
        return session, None
    before = await databases.run(
        asked.tenant, asked.session_id, continues.run_id, team_id=asked.team_id
    )
    if before is None or before.team_id != asked.team_id:
        raise CannotContinue(RUN_NOT_FOUND, not_found(continues.run_id))
    history = [each for each in session.history if each[0] != continues.run_id]
    recent = history[max(0, len(history) - history_runs) :]
    return dataclasses.replace(session, history=recent), before


def continued(start: RunStart, asked: Continuation, before: TeamRunOutput) -> RunStart:
    """The start of a run that goes on with `before`. Raises `CannotContinue`."""
    try:
        check_status(asked.run_id, before.status)
        at = boundary(before.messages or [], asked)
    except NotContinuable as error:
        raise CannotContinue(RUN_NOT_CONTINUABLE, str(error)) from error
    except ContinuationRefused as error:
        raise CannotContinue(WRONG_CONTINUATION, str(error)) from error
    kept = (before.messages or [])[: at.kept]
    called = {call.id for message in kept for call in message.tool_calls or []}
    return dataclasses.replace(
        start,
        user_id=start.user_id or before.user_id,
        continued=Continued(
            run_id=asked.run_id,
            index=at.index,
            is_cut=at.is_cut,
            is_regenerated=asked.regenerate,
            asked=before.input or TeamRunInput(input_content=""),
            messages=kept,
            tools=[tool for tool in before.tools or [] if tool.tool_call_id in called],
            responses=before.member_responses,
        ),
    )


def replaced_by(asked: Asked, status: RunStatus) -> RunId | None:
    """The run in whose place a run of this request stands that has ended so."""
    continues = asked.request.continues
    if continues is None or not (continues.regenerate and continues.replace_original):
        return None
    return continues.run_id if status is RunStatus.COMPLETED else None
