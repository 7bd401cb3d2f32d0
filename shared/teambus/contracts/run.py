"""A run on the bus: the request, and the events that say what became of it."""

from typing import Annotated, Any, Literal

import msgspec

from teambus.contracts.ids import EventId, RunId, SessionId, TeamId, Tenant, digest
from teambus.contracts.media import Media
from teambus.contracts.message import Message
from teambus.contracts.output import TeamRunOutput


class Continuation(msgspec.Struct, frozen=True, kw_only=True):
    """Which run is gone on with, and from where: its end, its last message of a user, or after so
    many of its messages. It stays as it is, in the same session; the new run begins with what is
    kept of it.

    `regenerate` asks for its last answer anew, in place of the old one if `replace_original`.
    """

    run_id: RunId
    continue_from: (
        Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)] | Literal["end", "last_user"]
    ) = "end"
    regenerate: bool = False
    replace_original: bool = True


class RunRequest(Message, frozen=True, kw_only=True, tag="run.request.v1"):
    """Someone asks a team, or an agent served by itself, to do a piece of work.

    The asker chooses `run_id`, so asking twice starts one run. Who is asked and the tenant are what
    the subject says. Without a `session_id` the run has a session of its own. With `stream` the
    run says what it does while it runs. One that `continues` another needs a session and may do
    without an input.
    """

    run_id: RunId
    input: str
    session_id: SessionId | None = None
    user_id: str | None = None
    session_state: dict[str, Any] | None = None
    dependencies: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    add_history_to_context: bool | None = None
    stream: bool = False
    media: list[Media] = []
    continues: Continuation | None = None


class RunAccepted(Message, frozen=True, kw_only=True, tag="run.accepted.v1"):
    """The gateway took responsibility for a submission that may be asked for again.

    `request_digest` tells a repeat from another request under the same key.
    """

    event_id: EventId
    tenant: Tenant
    team_id: TeamId
    run_id: RunId
    session_id: SessionId
    request_digest: str
    accepted_at: float
    user_id: str | None = None


class RunCompleted(Message, frozen=True, kw_only=True, tag="run.completed.v1"):
    """The one final word on a run. Hooks listen to this.

    `output.status` is COMPLETED, ERROR or CANCELLED; `code` says which error, for programs.
    `stored` is false when the run could not be written to the team's database. `frames` is the
    number of the frame that this event is to readers of a stream; 0 when the run was not streamed.
    """

    event_id: EventId
    tenant: Tenant
    team_id: TeamId
    run_id: RunId
    session_id: SessionId
    output: TeamRunOutput
    completed_at: float
    dependencies: dict[str, Any] | None = None
    code: str | None = None
    stored: bool = True
    frames: int = 0


class RunRefused(Message, frozen=True, kw_only=True, tag="run.refused.v1"):
    """A request was turned away without touching the run of the same id."""

    event_id: EventId
    tenant: Tenant
    team_id: TeamId
    run_id: RunId
    request_seq: int
    code: str
    detail: str


def request_digest(request: RunRequest) -> str:
    """What makes two requests the same: all of them but the run id, which is made from the key."""
    fields = msgspec.to_builtins(request)
    del fields["run_id"]
    return digest(msgspec.json.encode(fields, order="sorted"))
