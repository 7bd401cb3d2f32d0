"""What tells a hook or a tool where it is: the run's context, its session, its delivery."""

from dataclasses import dataclass
from typing import Any

from teambus.contracts.stored_api import Session as Session


@dataclass(slots=True, kw_only=True)
class RunContext:
    """The run a hook or tool is called in. Changes to `session_state` inside a run are kept.

    `idempotency_key` is for a system that must not act twice on this call: a call made again after
    a crash has the same one, another call never has.
    """

    run_id: str
    session_id: str
    user_id: str | None = None
    session_state: dict[str, Any] | None = None
    dependencies: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One try of telling one background hook of one run.

    `id` stays the same through retries, redrive and replay; `attempt` counts from 1. A member's
    hook is called once for each of the member's runs, all in one delivery; `member_run_id` is
    which.
    """

    id: str
    attempt: int
    hook: str
    member_run_id: str | None = None

    @property
    def idempotency_key(self) -> str:
        """What to give to a system that must not act twice: the same whenever this call is made
        again, another for each run that the hook is called for.
        """
        return self.id if self.member_run_id is None else f"{self.id}:{self.member_run_id}"
