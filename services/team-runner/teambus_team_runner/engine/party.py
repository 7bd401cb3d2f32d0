"""Who answers: a team's leader, one of its members or an agent by itself, in a run of its own."""

from dataclasses import dataclass

from teambus.app.agents import Agent
from teambus.app.models import OpenAIChat
from teambus.app.teams import Team
from teambus.contracts.ids import digest
from teambus_team_runner.engine.ports import EngineLimits, Frames, RunStart, Steps
from teambus_team_runner.engine.threads import Threads
from teambus_team_runner.models.port import ModelSource

LEADER = "leader"
AGENT = "agent"
"""Where the steps of a team's leader, and of an agent by itself, begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What everybody in one run shares."""

    start: RunStart
    steps: Steps
    models: ModelSource
    frames: Frames
    limits: EngineLimits
    threads: Threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """One that answers. Its ids are made from its place in the run, so a replay makes the same.

    `path` begins the keys of its steps; `model` is its own or inherited.
    """

    who: Agent | Team
    run_id: str
    created_at: int
    model: OpenAIChat | None
    path: str = LEADER
    parent: "Party | None" = None

    @property
    def is_team(self) -> bool:
        return isinstance(self.who, Team)

    @property
    def team(self) -> Team | None:
        """The team it leads or belongs to; an agent by itself has none."""
        if isinstance(self.who, Team):
            return self.who
        return self.parent.team if self.parent else None

    @property
    def depth(self) -> int:
        """How many teams its own team is nested in."""
        if self.parent is None:
            return 0
        return self.parent.depth + isinstance(self.who, Team)

    @property
    def is_heard(self) -> bool:
        """Whether readers of the run are told what it does; a team may hide its members."""
        if self.parent is None:
            return True
        assert isinstance(self.parent.who, Team), "only teams have members"
        return self.parent.who.stream_member_events and self.parent.is_heard

    def member(self, who: Agent | Team, tool_call_id: str, at: int) -> "Party":
        """The member in the run that this tool call asked for."""
        above = "" if self.path == LEADER else f"{self.path}/"
        return Party(
            who=who,
            run_id=self._id(f"run:{tool_call_id}"),
            created_at=at,
            model=who.model or self.model,
            path=f"{above}member:{tool_call_id}",
            parent=self,
        )

    def step(self, turn: int) -> str:
        return f"{self.path}/{turn}"

    def message_id(self, place: str) -> str:
        return self._id(f"message:{place}")

    def idempotency_key(self, tenant: str, place: str) -> str:
        """The same in each attempt, for what happens at this place of the run and nowhere else."""
        return digest(f"{tenant}/{self.run_id}/{self.path}/{place}".encode(), 32)

    def _id(self, place: str) -> str:
        text = digest(f"{self.run_id}/{self.path}/{place}".encode(), 32)
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
