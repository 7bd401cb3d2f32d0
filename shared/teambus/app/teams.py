"""A team: a leader model and the members it gives tasks to."""

from collections.abc import Callable, Iterator
from dataclasses import field
from typing import Any, TypeAlias

from teambus.app.agents import HISTORY_RUNS_DEFAULT, Agent, hook_mistakes
from teambus.app.databases import SessionDb
from teambus.app.errors import DefinitionError
from teambus.app.models import OpenAIChat
from teambus.app.names import id_mistakes, slug
from teambus.app.options import at_least, definition, labelled, not_json


@definition("team")
class Team:
    """Members who answer together. A team may be a member of another team.

    `num_history_runs` counts the earlier runs shown to the leader when `add_history_to_context`
    is on; not given means 3. With `stream_member_events` off, readers of a stream are told what the
    leader does, not what its members do.
    """

    name: str = ""
    id: str = ""
    model: OpenAIChat | None = None
    members: list["Agent | Team"] = field(default_factory=list)
    mode: str = "coordinate"
    role: str | None = None
    description: str | None = None
    instructions: str | list[str] | None = None
    expected_output: str | None = None
    additional_context: str | None = None
    markdown: bool = False
    db: SessionDb | None = None
    tools: list[Callable[..., Any]] = field(default_factory=list)
    tool_call_limit: int | None = at_least(0, default=None)
    pre_hooks: list[Any] = field(default_factory=list)
    post_hooks: list[Any] = field(default_factory=list)
    add_history_to_context: bool = False
    num_history_runs: int | None = at_least(0, default=None)
    stream_member_events: bool = True
    session_state: dict[str, Any] | None = None
    dependencies: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    hooks_in_background: bool = field(default=False, init=False)
    """Set by the app that runs all post-hooks in the background."""

    def __post_init__(self) -> None:
        label = labelled("team", self.name or self.id)
        self.id = self.id or slug(self.name)
        mistakes = [
            *id_mistakes(label, self.id, self.name),
            *self._shape_mistakes(label),
            *hook_mistakes(label, self.pre_hooks, self.post_hooks),
            *not_json(
                label,
                session_state=self.session_state,
                dependencies=self.dependencies,
                metadata=self.metadata,
            ),
        ]
        if mistakes:
            raise DefinitionError(*mistakes)
        self.name = self.name or self.id

    def _shape_mistakes(self, label: str) -> list[str]:
        mistakes = []
        if self.mode != "coordinate":
            mistakes.append(
                f"{label}: mode={self.mode!r} is not supported yet;"
                " leave it out or write mode='coordinate'"
            )
        if not self.members:
            mistakes.append(f"{label} has no members; write members=[Agent(name=...), ...]")
        return mistakes

    @property
    def history_runs(self) -> int:
        return HISTORY_RUNS_DEFAULT if self.num_history_runs is None else self.num_history_runs

    def member(self, id_: str) -> "Agent | Team | None":
        """The member with this id, at any depth."""
        return next((each for each in walk(self) if each is not self and each.id == id_), None)


Component: TypeAlias = Agent | Team
"""What is served under an id of its own."""


def walk(component: Component) -> Iterator[Agent | Team]:
    """The team or agent itself, a team's members, and theirs, each object once."""
    seen: set[int] = set()
    todo: list[Agent | Team] = [component]
    while todo:
        each = todo.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, Team):
            todo.extend(each.members)
