"""An agent: one member of a team."""

from collections.abc import Callable
from dataclasses import field
from typing import Any

from teambus.app.errors import DefinitionError
from teambus.app.marks import options_of
from teambus.app.models import OpenAIChat
from teambus.app.names import id_mistakes, slug
from teambus.app.options import at_least, definition, labelled, not_json, shortened


@definition("agent")
class Agent:
    """A member that answers the tasks the leader gives it. Without a model it uses the team's."""

    name: str = ""
    id: str = ""
    model: OpenAIChat | None = None
    role: str | None = None
    description: str | None = None
    instructions: str | list[str] | None = None
    expected_output: str | None = None
    additional_context: str | None = None
    markdown: bool = False
    tools: list[Callable[..., Any]] = field(default_factory=list)
    tool_call_limit: int | None = at_least(0, default=None)
    pre_hooks: list[Any] = field(default_factory=list)
    post_hooks: list[Any] = field(default_factory=list)
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
            *not_json(label, metadata=self.metadata),
        ]
        if mistakes:
            raise DefinitionError(*mistakes)


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
