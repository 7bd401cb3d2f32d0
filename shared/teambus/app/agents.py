"""An agent: a member of teams, or served by itself."""

from collections.abc import Callable
from dataclasses import field
from typing import Any

from teambus.app.databases import SessionDb
from teambus.app.errors import DefinitionError
from teambus.app.marks import options_of
from teambus.app.models import OpenAIChat
from teambus.app.names import id_mistakes, slug
from teambus.app.options import at_least, definition, labelled, not_json, shortened

HISTORY_RUNS_DEFAULT = 3


@definition("agent")
class Agent:
    """Answers the tasks a team's leader gives it, or, served by itself, whoever asks.

    As a member without a model it uses the team's. Sessions are the team's too: a member's `db`,
    `add_history_to_context`, `num_history_runs`, `session_state` and `dependencies` matter only
    where it is served by itself. `num_history_runs` not given means 3.
    """

    name: str = ""
    id: str = ""
    model: OpenAIChat | None = None
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
    session_state: dict[str, Any] | None = None
    dependencies: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    hooks_in_background: bool = field(default=False, init=False)
    """Set by the app that runs all post-hooks in the background."""

    def __post_init__(self) -> None:
        label = labelled("agent", self.name or self.id)
        if not self.name:
            raise DefinitionError(f"{label} has no name; write Agent(name=...)")
        self.id = self.id or slug(self.name)
        mistakes = [
            *id_mistakes(label, self.id, self.name),
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

    @property
    def history_runs(self) -> int:
        return HISTORY_RUNS_DEFAULT if self.num_history_runs is None else self.num_history_runs


def hook_label(function: object) -> str:
    return repr(getattr(function, "__name__", type(function).__name__))


def hook_mistakes(label: str, pre_hooks: list[Any], post_hooks: list[Any]) -> list[str]:
    """What is wrong with hooks wherever they are used."""
    mistakes = []
    for each in (*pre_hooks, *post_hooks):
        if hasattr(each, "check") or hasattr(each, "async_check"):
            mistakes.append(
                f"{label}: guardrail objects such as {hook_label(each)} are not supported yet;"
                " write a function that raises InputCheckError or OutputCheckError"
            )
        elif not callable(each):
            mistakes.append(f"{label}: the hook {shortened(each)} is not a function")
    for each in pre_hooks:
        if options_of(each).run_in_background:
            mistakes.append(
                f"{label}: the pre-hook {hook_label(each)} is marked run_in_background, but a"
                " pre-hook runs before the model so that it can change or refuse the input;"
                " remove the mark or make it a post-hook"
            )
    return mistakes
