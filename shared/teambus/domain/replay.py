"""What a journal says about its run: whose it is, what is paid for, how often it was tried."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from teambus.contracts.journal import (
    AttemptReleased,
    AttemptStarted,
    JournalEntry,
    ModelAnswered,
    Record,
    RunEnded,
    RunPinned,
    ToolIntended,
    ToolReturned,
)


@dataclass(slots=True)
class Past:
    """A run's journal, read. `attempts` counts those since the last step that ended in a death:
    a released attempt is none, and a run that makes progress starts counting anew. `holder` is the
    runner of the latest one, unless it released the run. `stuck_since`
    is when the first attempt after that step began, released ones included. `unreadable` says why
    some of the journal could not be read: then the run can only be given up.

    A step recorded twice means that the run went another way there, its code having changed: what
    its party did after the older record belongs to a branch that is not followed any more.
    """

    first: AttemptStarted | None = None
    latest: AttemptStarted | None = None
    holder: str | None = None
    pinned: RunPinned | None = None
    ended: RunEnded | None = None
    answers: dict[str, ModelAnswered] = field(default_factory=dict)
    results: dict[str, ToolReturned] = field(default_factory=dict)
    intents: dict[str, ToolIntended] = field(default_factory=dict)
    attempts: int = 0
    stuck_since: float | None = None
    unreadable: str | None = None
    _paths: list[str] = field(default_factory=list)
    _left_behind: dict[str, list[ToolReturned | None]] = field(default_factory=dict)

    @property
    def paid(self) -> bool:
        """Whether any step was ever done."""
        return bool(self.answers or self.results)

    def note(self, record: Record) -> None:
        match record:
            case AttemptStarted():
                self.first = self.first or record
                self.latest = record
                self.holder = record.runner
                self.attempts += 1
                self.stuck_since = self.stuck_since or record.at
            case AttemptReleased():
                self.attempts = max(0, self.attempts - 1)
                self.holder = None
            case RunPinned():
                self.pinned = self.pinned or record
            case ModelAnswered():
                if record.path in self.answers:
                    self.branch_at(record.path)
                self.answers[record.path] = record
                self._advance(record.path)
            case ToolIntended():
                self.intents[record.path] = record
                self._paths.append(record.path)
            case ToolReturned():
                if record.path not in self.intents:
                    self.left_behind(record.digest)
                self.results[record.path] = record
                self._advance(record.path)
            case RunEnded():
                self.ended = self.ended or record

    def branch_at(self, path: str) -> None:
        """Forget this step of a model and all that its party did since, members' steps included.

        What became of tools that must not be called twice is kept: see `left_behind`.
        """
        party = path.rpartition("/")[0]
        start = self._paths.index(path)
        gone = {each for each in self._paths[start:] if _is_within(each, party)}
        for each in gone:
            self.answers.pop(each, None)
            result, intent = self.results.pop(each, None), self.intents.pop(each, None)
            if intent is not None:
                self._left_behind.setdefault(intent.digest, []).append(result)
        self._paths = [each for each in self._paths if each not in gone]

    def left_behind(self, digest: str) -> list[ToolReturned | None]:
        """Of the calls with this digest that a forgotten branch made of a tool that must not be
        called twice, one: with its result, or None when that is unknown. It is given once.
        """
        calls = self._left_behind.get(digest, [])
        return [calls.pop(0)] if calls else []

    def _advance(self, path: str) -> None:
        self._paths.append(path)
        self.attempts = 0
        self.stuck_since = None


def _is_within(path: str, party: str) -> bool:
    """Whether a step is of this party or below it; all are below the one who was asked."""
    return not party.startswith("member:") or path.startswith(f"{party}/")


def read_past(entries: Iterable[JournalEntry]) -> Past:
    past = Past()
    for entry in entries:
        for record in entry.records:
            past.note(record)
    return past
