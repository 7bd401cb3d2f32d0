"""How a delivery stands, from what was recorded of it and what is being done."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from teambus.contracts.hook import HookOutcome
from teambus.contracts.hooks_api import HookCall

State: TypeAlias = Literal["waiting", "running", "retrying", "delivered", "dead"]


@dataclass(frozen=True, slots=True)
class Standing:
    """`attempts` were made, one that runs among them; `since` is None where nobody wrote it down.

    `redriven` counts how often the delivery was asked for again, by redrive or replay.
    """

    state: State
    attempts: int = 0
    since: float | None = None
    retry_at: float | None = None
    last_error: str | None = None
    redriven: int = 0


def standing(outcome: HookOutcome | None, call: HookCall | None) -> Standing:
    """A call counts only if it is of the latest generation: an outcome outlives its call."""
    if outcome is None:
        return _running(call) if call else Standing("waiting")
    last_error = outcome.failures[-1].error if outcome.failures else None
    if outcome.state in ("delivered", "dead"):
        if call is not None and call.generation > outcome.generation:
            return _running(call)
        state: State = "delivered" if outcome.state == "delivered" else "dead"
        return Standing(
            state, outcome.attempt, outcome.at, None, last_error, redriven=outcome.generation
        )
    if call is not None and call.generation >= outcome.generation:
        return _running(call, last_error)
    state = "waiting" if outcome.state == "redriven" else "retrying"
    return Standing(
        state, outcome.attempt, outcome.at, outcome.retry_at, last_error, outcome.generation
    )


def _running(call: HookCall, last_error: str | None = None) -> Standing:
    return Standing(
        "running", call.attempt, call.began_at, None, last_error, redriven=call.generation
    )
