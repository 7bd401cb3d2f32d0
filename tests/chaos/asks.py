"""What a client knows of one run it asked for: the only side of the story it can tell."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["plain", "keyed", "streamed", "background", "direct", "started", "left"]

LAST_WORDS = ("RunCompleted", "RunError", "RunCancelled")
"""With the word Team before it if it is a team's; without, it is a member's there."""


@dataclass
class Ask:
    """One run asked for. `accepted_at` is when the system took responsibility: a success answer,
    or the bus's own acknowledgement.
    """

    run_id: str
    tenant: str
    component: str
    session_id: str
    kind: Kind
    message: str
    began_at: float
    accepted_at: float | None = None
    answer: dict[str, Any] | None = None
    heard: list[tuple[int, str]] = field(default_factory=list)
    cuts: int = 0
    repeats: int = 0
    cancelled: bool = False
    timeouts: list[float] = field(default_factory=list)
    oddities: list[str] = field(default_factory=list)
    done: bool = False

    @property
    def path(self) -> str:
        kind = "agents" if self.component == "clerk" else "teams"
        return f"/{kind}/{self.component}/runs"

    @property
    def heard_all(self) -> bool:
        """Whether the last event heard was the last word of the run."""
        owner = "" if self.component == "clerk" else "Team"
        return bool(self.heard) and self.heard[-1][1] in [owner + word for word in LAST_WORDS]

    @property
    def is_streamed(self) -> bool:
        return self.kind == "streamed"

    def facts(self) -> str:
        """In one line, to be followed from."""
        told = {name: value for name, value in vars(self).items() if name != "answer" and value}
        told["heard"] = len(self.heard)
        told["status"] = (self.answer or {}).get("status")
        return json.dumps(told)
