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
    ToolReturned,
)


@dataclass(slots=True)
class Past:
    """A run's journal, read. `attempts` counts those since the last step that ended in a death:
    a released attempt is none, and a run that makes progress starts counting anew. `stuck_since`
    is when the first attempt after that step began, released ones included. `unreadable` says why
    some of the journal could not be read: then the run can only be given up.
    """

    first: AttemptStarted | None = None
    latest: AttemptStarted | None = None
    pinned: RunPinned | None = None
    ended: RunEnded | None = None
    answers: dict[str, ModelAnswered] = field(default_factory=dict)
    results: dict[str, ToolReturned] = field(default_factory=dict)
    attempts: int = 0
    stuck_since: float | None = None
    unreadable: str | None = None

    @property
    def paid(self) -> bool:
        """Whether any step was ever done."""
        return bool(self.answers or self.results)

    def note(self, record: Record) -> None:
        match record:
            case AttemptStarted():
                self.first = self.first or record
                self.latest = record
                self.attempts += 1
                self.stuck_since = self.stuck_since or record.at
            case AttemptReleased():
                self.attempts = max(0, self.attempts - 1)
            case RunPinned():
                self.pinned = self.pinned or record
            case ModelAnswered():
                self.answers[record.path] = record
                self._advance()
            case ToolReturned():
                self.results[record.path] = record
                self._advance()
            case RunEnded():
                self.ended = self.ended or record

    def _advance(self) -> None:
        self.attempts = 0
        self.stuck_since = None


def read_past(entries: Iterable[JournalEntry]) -> Past:
    past = Past()
    for entry in entries:
        for record in entry.records:
            past.note(record)
    return past
