"""Questions about stored sessions, and their answers: request-reply with whoever has the database.

A question goes to `api.<tenant>.db.<db>.<verb>`. One that names a session the database does not
have, or has for another user, is answered with an empty body. Every verb that writes may be asked
again after an answer that did not come: it changes nothing a second time.
"""

from datetime import date
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec

from teambus.contracts.ids import TEXT_ID_LENGTH_MAX, RunId, SessionId
from teambus.contracts.output import Metrics

SESSIONS_PAGE_MAX = 1000
PAGE_MAX = 2**31
NAME_LENGTH_MAX = 1000

SessionType: TypeAlias = Literal["agent", "team"]
SortField: TypeAlias = Literal[
    "created_at",
    "updated_at",
    "session_id",
    "session_name",
    "session_type",
    "user_id",
    "component_id",
]
Name: TypeAlias = Annotated[str, msgspec.Meta(max_length=NAME_LENGTH_MAX)]
NewId: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_ID_LENGTH_MAX)]

A = TypeVar("A")


class SessionsQuestion(msgspec.Struct, Generic[A], frozen=True, kw_only=True, omit_defaults=True):
    """A question whose answer is an `A`."""


class SessionFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A session without its runs. `component_id` is the team or agent it is of, if that is known.

    `session_name` is the one it was given, else its first question, cut. `metrics` are the tokens
    of all its runs, leaders and members together. Times are whole seconds since 1970.
    """

    session_id: SessionId
    session_type: SessionType
    session_name: str
    created_at: int
    updated_at: int
    runs: int = 0
    component_id: str | None = None
    user_id: str | None = None
    session_state: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    summary: dict[str, Any] | None = None
    metrics: Metrics | None = None


class SessionPage(msgspec.Struct, frozen=True, kw_only=True):
    """`total` counts all that fit the question, on whatever page."""

    sessions: list[SessionFacts]
    total: int


class ListSessions(SessionsQuestion[SessionPage], frozen=True, kw_only=True, omit_defaults=True):
    """`sessions.list`: those that fit all that is given, a page of them; pages count from 1."""

    session_type: SessionType | None = None
    component_id: str | None = None
    user_id: str | None = None
    name_part: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=SESSIONS_PAGE_MAX)] = 20
    page: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = 1
    sort_by: SortField = "created_at"
    descending: bool = True


class SessionDetail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`chat_history` is what users and leaders said to each other, oldest first; of a long session
    the newest.
    """

    session: SessionFacts
    chat_history: list[dict[str, Any]] = []


class GetSession(SessionsQuestion[SessionDetail], frozen=True, kw_only=True, omit_defaults=True):
    """`sessions.get`"""

    session_id: SessionId
    user_id: str | None = None


class SessionCreated(msgspec.Struct, frozen=True, kw_only=True):
    """`created` is false when a session of this id was there: it is left as it was."""

    created: bool
    detail: SessionDetail


class CreateSession(
    SessionsQuestion[SessionCreated], frozen=True, kw_only=True, omit_defaults=True
):
    """`sessions.create`: a session before its first run. The asker chooses its id."""

    session_id: NewId
    session_type: SessionType
    component_id: NewId | None = None
    user_id: NewId | None = None
    session_name: Name | None = None
    session_state: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


class ChangeSession(SessionsQuestion[SessionDetail], frozen=True, kw_only=True, omit_defaults=True):
    """`sessions.change`: what is given replaces what is stored, the rest is not touched."""

    session_id: SessionId
    user_id: str | None = None
    session_name: Name | None = None
    session_state: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    summary: dict[str, Any] | None = None


class SessionsDeleted(msgspec.Struct, frozen=True, kw_only=True):
    deleted: int


class DeleteSessions(
    SessionsQuestion[SessionsDeleted], frozen=True, kw_only=True, omit_defaults=True
):
    """`sessions.delete`: sessions and their runs, all or none. Those that are not there are no
    error. A run that is under way brings its session back when it ends.
    """

    session_ids: Annotated[
        list[SessionId], msgspec.Meta(min_length=1, max_length=SESSIONS_PAGE_MAX)
    ]
    user_id: str | None = None


class SessionForked(msgspec.Struct, frozen=True, kw_only=True):
    """`runs` is how many were copied; with none, nothing was made."""

    session_id: SessionId
    forked_from_session_id: SessionId
    runs: int


class ForkSession(SessionsQuestion[SessionForked], frozen=True, kw_only=True, omit_defaults=True):
    """`sessions.fork`: a copy. The ids of its runs are made from its own id and theirs."""

    session_id: SessionId
    new_session_id: NewId
    component_id: str | None = None
    user_id: str | None = None


class SessionRuns(msgspec.Struct, frozen=True, kw_only=True):
    """Runs as they were answered when they ended, oldest first; members are inside of them."""

    session: SessionFacts
    runs: list[msgspec.Raw]


class GetRuns(SessionsQuestion[SessionRuns], frozen=True, kw_only=True, omit_defaults=True):
    """`sessions.runs`: those that were under way at some time between the two, seconds since 1970.

    With `run_id` only the run that is, or has among its members, the one of that id.
    """

    session_id: SessionId
    user_id: str | None = None
    after: float | None = None
    before: float | None = None
    run_id: RunId | None = None


class RunPreview(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run or a member's run in a few words."""

    run_id: RunId
    status: str
    created_at: int
    run_input: str
    content_preview: str
    parent_run_id: RunId | None = None
    agent_id: str | None = None
    team_id: str | None = None
    user_id: str | None = None


class SessionPreviews(msgspec.Struct, frozen=True, kw_only=True):
    """Oldest first, members before the run they are part of."""

    runs: list[RunPreview]


class GetPreviews(SessionsQuestion[SessionPreviews], frozen=True, kw_only=True, omit_defaults=True):
    """`sessions.previews`: as `GetRuns`, in short."""

    session_id: SessionId
    user_id: str | None = None
    after: float | None = None
    before: float | None = None


class ModelUse(msgspec.Struct, frozen=True, kw_only=True):
    """In how many runs a model was used, by a leader or a member."""

    id: str
    provider: str
    runs: int


class DayOfUsage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was asked for on one day, UTC: stored runs, by the day they began.

    `sessions` and `users` are those with a run on that day. Runs of teams and agents are told
    apart by their session. `tokens` are those of leaders and members together.
    """

    day: date
    first_at: int
    last_at: float
    tokens: Metrics
    models: list[ModelUse] = []
    users: int = 0
    team_runs: int = 0
    team_sessions: int = 0
    agent_runs: int = 0
    agent_sessions: int = 0


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Oldest day first; days without a run are left out."""

    days: list[DayOfUsage]


class GetUsage(SessionsQuestion[Usage], frozen=True, kw_only=True, omit_defaults=True):
    """`metrics`: the days from `first_day` to `last_day`, both included."""

    first_day: date | None = None
    last_day: date | None = None
    user_id: str | None = None


class Verb(NamedTuple):
    """Under which name a kind of question is asked, and what the answer is."""

    name: str
    answer: type[Any]
    writes: bool = False


VERBS: dict[type[SessionsQuestion[Any]], Verb] = {
    ListSessions: Verb("sessions.list", SessionPage),
    GetSession: Verb("sessions.get", SessionDetail),
    CreateSession: Verb("sessions.create", SessionCreated, writes=True),
    ChangeSession: Verb("sessions.change", SessionDetail, writes=True),
    DeleteSessions: Verb("sessions.delete", SessionsDeleted, writes=True),
    ForkSession: Verb("sessions.fork", SessionForked, writes=True),
    GetRuns: Verb("sessions.runs", SessionRuns),
    GetPreviews: Verb("sessions.previews", SessionPreviews),
    GetUsage: Verb("metrics", Usage),
}
