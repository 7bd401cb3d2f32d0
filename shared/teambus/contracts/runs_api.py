"""Questions about runs, answered by whichever gateway is free; one by the runner it is put to."""

from typing import Any

import msgspec

from teambus.contracts.ids import RunId, SessionId, TeamId
from teambus.contracts.media import Media
from teambus.contracts.run import Continuation


class StartRun(msgspec.Struct, kw_only=True):
    """`run.start`: a run request that says who is asked, a team or an agent by its id, and may
    leave the run id to the gateway.
    """

    team_id: TeamId
    input: str
    run_id: RunId | None = None
    session_id: SessionId | None = None
    user_id: str | None = None
    session_state: dict[str, Any] | None = None
    dependencies: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    add_history_to_context: bool | None = None
    stream: bool = False
    media: list[Media] = []
    continues: Continuation | None = None


class RunStarted(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The answer to `run.start`. The run's end will be published on `event_subject`; what it says
    of a streamed run is stored under `frame_subject` and repeated on `live_subject`.
    """

    run_id: RunId
    session_id: SessionId
    seq: int
    event_subject: str
    frame_subject: str | None = None
    live_subject: str | None = None


class WaitForRun(msgspec.Struct, kw_only=True):
    """`run.wait`: answered with the run-completed event."""

    team_id: TeamId
    run_id: RunId
    timeout_s: float = 30


class CancelThisRun(msgspec.Struct, kw_only=True):
    """`run.cancel`: answered once the order is stored, whether there is such a run."""

    team_id: TeamId
    run_id: RunId
    reason: str | None = None


class CancelOrdered(msgspec.Struct, kw_only=True):
    """The answer to `run.cancel`. There is nothing to say yet: the end of the run will tell."""


class HoldsRun(msgspec.Struct, kw_only=True):
    """`runner.<runner>.holds`: whether that team-runner has a run in hand."""

    run_id: RunId


class RunHeld(msgspec.Struct, kw_only=True):
    """The answer to `runner.<runner>.holds`. A runner that is gone does not answer."""

    held: bool
