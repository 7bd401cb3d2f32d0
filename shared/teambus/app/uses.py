"""Where hooks are used: which function, on whose runs, in the foreground or the background."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from teambus.app.agents import Agent
from teambus.app.marks import HookFunction, HookOptions, options_of
from teambus.app.teams import Component, Team, walk

MEMBERS_SUFFIX = "-members"


@dataclass(frozen=True, slots=True)
class HookUse:
    """A post-hook of `owner` that runs in the background, for runs of `component`."""

    function: HookFunction
    component: Component
    owner: Agent | Team

    @property
    def options(self) -> HookOptions:
        return options_of(self.function)

    @property
    def of_member(self) -> bool:
        return self.owner is not self.component


def runs_in_background(function: Any, owner: Agent | Team) -> bool:
    """Whether this post-hook of `owner` is left to the hook-runner."""
    return owner.hooks_in_background or options_of(function).run_in_background


def background_uses(components: Iterable[Component]) -> Iterator[HookUse]:
    owners = ((component, owner) for component in components for owner in walk(component))
    for component, owner in owners:
        for function in owner.post_hooks:
            if runs_in_background(function, owner):
                yield HookUse(function, component, owner)


def base_name(app: str, use: HookUse) -> str:
    """The hook's own name, or its app's and function's; empty when the function has no name."""
    function = getattr(use.function, "__name__", "")
    derived = f"{app}-{function}" if function and function != "<lambda>" else ""
    return use.options.name or derived


def by_hook(app: str, components: Iterable[Component]) -> dict[str, list[HookUse]]:
    """The uses of each background hook, by its name.

    A function used both on what is served and on members is two hooks, since they are called for
    different runs; the members' one is named with `-members`.
    """
    groups: dict[str, list[HookUse]] = {}
    uses = list(background_uses(components))
    served = {base_name(app, use) for use in uses if not use.of_member}
    for use in uses:
        base = base_name(app, use)
        name = base + MEMBERS_SUFFIX if use.of_member and base in served else base
        groups.setdefault(name, []).append(use)
    return groups
