"""Every subject of the bus, made and read in one place."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from teambus.contracts.ids import HookName, RunId, SessionId, TeamId, Tenant, digest, token

ROOT = "teambus.v1"
STANDARD_LANE = "std"

_REDRIVE = f"{ROOT}.redrive."

EventType: TypeAlias = Literal["accepted", "paused", "refused", "completed"]


def request(tenant: Tenant, team_id: TeamId, lane: str = STANDARD_LANE) -> str:
    return f"{ROOT}.request.{tenant}.{team_id}.{lane}"


def event(tenant: Tenant, team_id: TeamId, run_id: RunId, kind: EventType) -> str:
    return f"{ROOT}.event.{tenant}.{team_id}.{token(run_id)}.{kind}"


def live(tenant: Tenant, run_id: RunId, kind: str = ">") -> str:
    """Where committed events and frames of a run are repeated, for whoever listens right now."""
    return f"{ROOT}.live.{tenant}.{token(run_id)}.{kind}"


def journal(tenant: Tenant, run_id: RunId, leg: int = 0) -> str:
    return f"{ROOT}.journal.{tenant}.{token(run_id)}.{leg}"


def frames(tenant: Tenant, run_id: RunId) -> str:
    return f"{ROOT}.frame.{tenant}.{token(run_id)}"


def live_frames(tenant: Tenant, run_id: RunId) -> str:
    """Where committed frames are repeated: deeper than events, to spare who waits for an end."""
    return f"{ROOT}.live.{tenant}.{token(run_id)}.frame.batch"


def control(tenant: Tenant, team_id: TeamId, run_id: RunId) -> str:
    """With the team, so that an order to another team's run of this id replaces none to this."""
    return f"{ROOT}.control.{tenant}.{team_id}.{token(run_id)}"


def cancel_signals() -> str:
    """Where each committed order to cancel a run is repeated, for every runner."""
    return f"{ROOT}.ordered.>"


def session_token(session_id: SessionId) -> str:
    return digest(session_id.encode(), 32)


def session(tenant: Tenant, session_id: SessionId) -> str:
    return f"{ROOT}.session.{tenant}.{session_token(session_id)}"


def session_signal(tenant: Tenant, session_id: SessionId) -> str:
    """Where each committed change of a session record is repeated."""
    return f"{ROOT}.open.{tenant}.{session_token(session_id)}"


def hook(tenant: Tenant, run_id: RunId, name: HookName) -> str:
    return f"{ROOT}.hook.{tenant}.{token(run_id)}.{name}"


def redrive(tenant: Tenant, name: HookName) -> str:
    return f"{ROOT}.redrive.{tenant}.{name}"


def dead(tenant: Tenant, kind: Literal["run", "request", "hook"], name: str, id_: str) -> str:
    return f"{ROOT}.dead.{tenant}.{kind}.{name}.{token(id_)}"


def lease(name: str) -> str:
    """Where it is written who does what only one may do."""
    return f"{ROOT}.lease.{name}"


def api(tenant: Tenant, verb: str) -> str:
    """A request-reply endpoint, such as `run.start`."""
    return f"{ROOT}.api.{tenant}.{verb}"


def fits(address: str, pattern: str) -> bool:
    """Whether all that is said at `address` matches a subject with wildcards."""
    tokens, wanted = address.split("."), pattern.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(tokens) <= len(wanted):
            return False
        tokens = tokens[: len(wanted)]
    return len(tokens) == len(wanted) and all(
        want in ("*", token) for token, want in zip(tokens, wanted, strict=True)
    )


@dataclass(frozen=True, slots=True)
class RequestSubject:
    """What the subject of a run request says. It is trusted, the payload is not."""

    tenant: Tenant
    team_id: TeamId
    lane: str

    @classmethod
    def parse(cls, subject: str) -> "RequestSubject":
        _, _, _, tenant, team_id, lane = subject.split(".")
        return cls(tenant, team_id, lane)


@dataclass(frozen=True, slots=True)
class EventSubject:
    """What the subject of a run event says; `run` is the run id's token."""

    tenant: Tenant
    team_id: TeamId
    run: str
    kind: str

    @classmethod
    def parse(cls, subject: str) -> "EventSubject":
        _, _, _, tenant, team_id, run, kind = subject.split(".")
        return cls(tenant, team_id, run, kind)


@dataclass(frozen=True, slots=True)
class RedriveSubject:
    """What the subject of a redriven delivery says."""

    tenant: Tenant
    hook: HookName

    @classmethod
    def parse(cls, subject: str) -> "RedriveSubject | None":
        """None for a subject of another kind."""
        if not subject.startswith(_REDRIVE):
            return None
        _, _, _, tenant, hook = subject.split(".")
        return cls(tenant, hook)
