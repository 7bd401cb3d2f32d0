"""What can be delivered again: dead letters one by one, and whole stretches of the past."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from teambus.contracts.catalogue import HookDescription
from teambus.contracts.hook import DeadLetter, HookOutcome
from teambus.contracts.run import RunCompleted
from teambus.domain.hearing import wants

Replayable: TypeAlias = Literal["replay", "under way", "asked"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a letter cannot be redriven; `code` is for programs, `detail` says how to mend it."""

    code: str
    detail: str


def refusal(letter: DeadLetter, hook: HookDescription | None) -> Refusal | None:
    """What stands against redriving a letter, before its event is looked for."""
    if letter.about == "run":
        return Refusal(
            "not_redrivable",
            "a run ends once, and this one has ended; its letter keeps what it came to. "
            "To have the work done, ask for a new run",
        )
    if letter.about == "request":
        return Refusal(
            "not_redrivable",
            "this request could not be read and would not be this time; "
            "mend what sent it and send it again",
        )
    if hook is None or letter.team_id not in (None, *hook.teams):
        return Refusal(
            "hook_gone",
            f"no hook {letter.name!r} of {letter.team_id!r} exists any more; provision an app that "
            "has it, or discard the letter",
        )
    return None


def unwanted(hook: HookDescription, event: RunCompleted) -> Refusal | None:
    """A hook that would not be called must not be said to have been redriven."""
    if wants(hook, event.output):
        return None
    return Refusal(
        "not_wanted",
        f"the hook {hook.name!r} does not ask for runs that ended {event.output.status.value} any "
        "more; change its `on` or members, or discard the letter",
    )


def replayable(outcome: HookOutcome | None, *, overdue: bool, replay: str) -> Replayable:
    """Whether a delivery may be made again now. `overdue`: the bus has not delivered it yet."""
    if outcome is None:
        return "under way" if overdue else "replay"
    if outcome.replay == replay:
        return "asked"
    return "replay" if outcome.state in ("delivered", "dead") else "under way"
