"""Where each message is said: every subject that is written to, as data.

What a stream repeats for listeners is not here: it follows from the streams.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from teambus.contracts.catalogue import AppDescription
from teambus.contracts.control import CancelRun
from teambus.contracts.frames import FrameBatch
from teambus.contracts.hook import DeadLetter, HookOutcome, RedriveDelivery
from teambus.contracts.journal import JournalEntry
from teambus.contracts.lease import LeaseRecord
from teambus.contracts.message import Message
from teambus.contracts.run import RunAccepted, RunCompleted, RunRefused, RunRequest
from teambus.contracts.session import SessionRecord
from teambus.contracts.subjects import ROOT

Direction: TypeAlias = Literal["heard", "told", "kept"]

PARAMETERS = {
    "tenant": "Whose work it is; `default` on one machine.",
    "team": "The id of the team, or of the agent served by itself.",
    "lane": "The priority class; `std` is the only one.",
    "run": "The run id where it fits a subject (A-Z a-z 0-9 _ -, 64 at most, not beginning with "
    "`h_`), else `h_` and the first 32 characters of its SHA-256 in lower-case hexadecimal.",
    "leg": "0 for a run that was never continued.",
    "session": "The first 32 characters of the SHA-256 of the session id in lower-case "
    "hexadecimal.",
    "hook": "The name of the hook.",
    "about": "What was given up: `hook`, `run` or `request`.",
    "name": "The name of the hook, or the id of the team.",
    "letter": "The id of the letter, in the form of `run`.",
    "app": "The id of the app.",
    "lease": "What only one may do: `janitor`.",
    "db": "The id of the database, in the form of `run`.",
    "runner": "The name of a team-runner in the journal, in the form of `run`.",
}


@dataclass(frozen=True, slots=True)
class Channel:
    """A subject with its variable tokens in braces, and the one kind of message said there.

    Anybody may say what is `heard` and listen to what is `told`; what is `kept` is teambus's own
    and read to find out what happened. `event_type` is the end of the CloudEvents type, None
    where a message has no CloudEvents headers. `may_be_aside` allows a body in the object store,
    `names_run` is for a message whose body has a run that its subject has not.
    """

    address: str
    says: type[Message]
    direction: Direction
    event_type: str | None = None
    may_be_aside: bool = True
    names_run: bool = False

    @property
    def name(self) -> str:
        """The tokens that do not vary."""
        return constant(self.address)


def constant(address: str) -> str:
    """What is left of an address without the root and the tokens that vary."""
    tokens = address.removeprefix(f"{ROOT}.").split(".")
    return ".".join(token for token in tokens if not token.startswith("{"))


CHANNELS = (
    Channel(
        f"{ROOT}.request.{{tenant}}.{{team}}.{{lane}}", RunRequest, "heard", "run.requested.v1"
    ),
    Channel(
        f"{ROOT}.event.{{tenant}}.{{team}}.{{run}}.accepted", RunAccepted, "told", "run.accepted.v1"
    ),
    Channel(
        f"{ROOT}.event.{{tenant}}.{{team}}.{{run}}.refused", RunRefused, "told", "run.refused.v1"
    ),
    Channel(
        f"{ROOT}.event.{{tenant}}.{{team}}.{{run}}.completed",
        RunCompleted,
        "told",
        "run.completed.v1",
    ),
    Channel(f"{ROOT}.frame.{{tenant}}.{{run}}", FrameBatch, "told", "run.frames.v1"),
    Channel(
        f"{ROOT}.control.{{tenant}}.{{team}}.{{run}}", CancelRun, "heard", "run.cancel.v1", False
    ),
    Channel(f"{ROOT}.journal.{{tenant}}.{{run}}.{{leg}}", JournalEntry, "kept"),
    Channel(f"{ROOT}.session.{{tenant}}.{{session}}", SessionRecord, "kept", None, False),
    Channel(f"{ROOT}.hook.{{tenant}}.{{run}}.{{hook}}", HookOutcome, "kept", "hook.outcome.v1"),
    Channel(
        f"{ROOT}.redrive.{{tenant}}.{{hook}}",
        RedriveDelivery,
        "kept",
        "hook.redrive.v1",
        names_run=True,
    ),
    Channel(
        f"{ROOT}.dead.{{tenant}}.{{about}}.{{name}}.{{letter}}",
        DeadLetter,
        "kept",
        "dead.letter.v1",
    ),
    Channel(f"{ROOT}.lease.{{lease}}", LeaseRecord, "kept", None, False),
    Channel("$KV.teambus_catalogue.{app}", AppDescription, "kept", None, False),
)
