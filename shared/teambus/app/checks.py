"""What can only be seen wrong when all declarations of an app are looked at together."""

from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise
from operator import attrgetter
from typing import Literal

from teambus.app.agents import Agent, hook_label, hook_mistakes
from teambus.app.errors import DefinitionError
from teambus.app.injection import Place, injectable, is_generator, missing
from teambus.app.names import id_mistakes
from teambus.app.teams import Component, Team, walk
from teambus.app.tools import tool_spec
from teambus.app.uses import HookUse, background_uses, base_name, by_hook, runs_in_background
from teambus.app.webhooks import WebhookHook
from teambus.contracts.ids import ID_RULE, is_id

DELEGATION_TOOL = "delegate_task_to_member"
"""The tool by which the leader gives tasks; no tool of a team may have its name."""


def mistakes_of(app: str, components: list[Component]) -> list[str]:
    """Every mistake found, each once."""
    if not components:
        mend = "write teams=[Team(...)] or agents=[Agent(...)]"
        return [f"TeamBus {app!r} has no teams and no agents; {mend}"]
    found = [*_repeated_components(components), *_databases(components)]
    for component in components:
        found += _tree(component)
        for owner in walk(component):
            label = _label(owner, component)
            found += [*_rules(owner, label), *_tools(owner, label), *_arguments(owner, label)]
    found += _background_names(app, components)
    return list(dict.fromkeys(found))


def _label(owner: Agent | Team, component: Component) -> str:
    if owner is component:
        return _named(owner)
    return f"member {owner.name!r} of team {component.name!r}"


def _kind(owner: Agent | Team) -> Literal["team", "agent"]:
    return "team" if isinstance(owner, Team) else "agent"


def _repeated_components(components: list[Component]) -> Iterator[str]:
    for id_, same in groupby(sorted(components, key=attrgetter("id")), attrgetter("id")):
        first, *others = same
        for other in others:
            kind = _kind(first)
            both = (
                f"two {kind}s" if kind == _kind(other) else f"{_named(first)} and {_named(other)}"
            )
            yield f"{both} have the id {id_!r}; give one another id"


def _named(component: Component) -> str:
    return f"{_kind(component)} {component.name!r}"


def _repeated(things: Iterable[Agent | Team]) -> list[str]:
    ids = sorted(each.id for each in things)
    return sorted({a for a, b in pairwise(ids) if a == b})


def _databases(components: list[Component]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for db in (each.db for each in components):
        if db is None:
            continue
        other = seen.setdefault(db.id, db.place)
        if other != db.place:
            yield (
                f"two databases have the id {db.id!r}: {other} and {db.place};"
                " give one of them an id=..."
            )


def _tree(component: Component) -> Iterator[str]:
    if component.model is None:
        yield f'{_named(component)} has no model; write model=OpenAIChat(id="gpt-...")'
    if isinstance(component, Team):
        yield from _members(component)


def _members(team: Team) -> Iterator[str]:
    if _contains_itself(team, ()):
        yield f"team {team.name!r} contains itself; take it out of its members"
        return
    for each in walk(team):
        if isinstance(each, Team):
            for id_ in _repeated(each.members):
                yield f"team {each.name!r}: two members have the id {id_!r}; give one another id"
    for id_ in _repeated(walk(team)):
        yield f"team {team.name!r}: two of all its members have the id {id_!r}; give one another id"


def _contains_itself(team: Team, above: tuple[Team, ...]) -> bool:
    if any(team is each for each in above):
        return True
    path = (*above, team)
    return any(_contains_itself(each, path) for each in team.members if isinstance(each, Team))


def _rules(owner: Agent | Team, label: str) -> list[str]:
    """What was checked when declared, again: lists may have been changed since."""
    mistakes = [
        *id_mistakes(label, owner.id, owner.name),
        *hook_mistakes(label, owner.pre_hooks, owner.post_hooks),
    ]
    if isinstance(owner, Team) and not owner.members:
        mistakes.append(f"{label} has no members; write members=[Agent(name=...), ...]")
    return mistakes


def _tools(owner: Agent | Team, label: str) -> Iterator[str]:
    names = {DELEGATION_TOOL} if isinstance(owner, Team) else set()
    for function in owner.tools:
        try:
            name = tool_spec(function).name
        except DefinitionError as error:
            yield f"{label}: {error}"
            continue
        if name in names:
            yield f"{label}: two tools are named {name!r}; rename one"
        names.add(name)


def _arguments(owner: Agent | Team, label: str) -> Iterator[str]:
    for function in owner.pre_hooks:
        yield from _call_mistakes(function, "pre", owner, label)
    for function in owner.post_hooks:
        place: Place = "background" if runs_in_background(function, owner) else "post"
        yield from _call_mistakes(function, place, owner, label)


def _call_mistakes(
    function: object, place: Place, owner: Agent | Team, label: str
) -> Iterator[str]:
    if not callable(function):
        return
    whose = f"{label}: the hook {hook_label(function)}"
    names = injectable(place, _kind(owner))
    try:
        absent = missing(function, names)
    except (TypeError, ValueError) as error:
        yield f"{whose} does not tell its parameters: {error}"
        return
    if absent:
        yield (
            f"{whose} asks for {', '.join(map(repr, absent))}, which a"
            f" {_PLACES[place]} is not given; it can have {', '.join(names)}"
        )
    if is_generator(function):
        yield f"{whose} yields, so calling it would run nothing; remove the yield"


_PLACES: dict[Place, str] = {
    "pre": "pre-hook",
    "post": "post-hook",
    "background": "background hook",
}


def _background_names(app: str, components: list[Component]) -> Iterator[str]:
    for use in background_uses(components):
        if not base_name(app, use):
            yield (
                f"{_label(use.owner, use.component)}: the background hook"
                f" {hook_label(use.function)} has no name, which its retries need; make it a named"
                " function or give one with hook(run_in_background=True, name=...)"
            )
    for name, uses in by_hook(app, components).items():
        if name:
            yield from _hook_mistakes(name, uses)


def _hook_mistakes(name: str, uses: list[HookUse]) -> Iterator[str]:
    if not is_id(name):
        yield (
            f"the name of the background hook {name!r} must be {ID_RULE};"
            f" give one with {_naming(uses[0].function)}"
        )
    if any(use.function != uses[0].function for use in uses):
        yield (
            f"two functions are the background hook {name!r};"
            f" give one of them a name with {_naming(uses[-1].function)}"
        )
    yield from _unclear_members(name, uses)


def _naming(function: object) -> str:
    if isinstance(function, WebhookHook):
        return "WebhookHook(..., name=...)"
    return "@hook(run_in_background=True, name=...)"


def _unclear_members(name: str, uses: list[HookUse]) -> Iterator[str]:
    """A members' hook knows members by id, so one id must not mean two members to it."""
    wanted = {use.owner.id for use in uses if use.of_member}
    owners = [use.owner for use in uses]
    teams = {id(use.component): use.component for use in uses if use.of_member}
    for team in teams.values():
        for each in walk(team):
            if each is not team and each.id in wanted and not any(each is own for own in owners):
                yield (
                    f"the background hook {name!r} is on a member {each.id!r}, but not on the one"
                    f" of team {team.name!r}; give one of the two members another id"
                )
