"""Whether a description that was written elsewhere may be acted on.

What an app's code checks of itself is only its own word: ids become subjects, and one with a
wildcard in it would hear what others are asked.
"""

from collections.abc import Iterable, Iterator

from teambus.contracts.catalogue import AppDescription, HookDescription
from teambus.contracts.ids import ID_RULE, is_id

REPLAYS = ("new", "all")


def mistakes_of(app: AppDescription) -> list[str]:
    """Everything that is wrong with it."""
    components = {each.id for each in app.components}
    found = [*_ids("app", [app.id]), *_ids("team or agent", components)]
    found += _ids("hook", [hook.name for hook in app.hooks])
    for hook in app.hooks:
        found += _of_hook(app, hook, components)
    return found


def _ids(kind: str, ids: Iterable[str]) -> Iterator[str]:
    for id_ in sorted(ids):
        if not is_id(id_):
            yield f"the {kind} {id_!r} has no usable id: {ID_RULE}"


def _of_hook(app: AppDescription, hook: HookDescription, components: set[str]) -> Iterator[str]:
    if hook.app != app.id:
        yield f"the hook {hook.name!r} is of the app {hook.app!r}, not of {app.id!r}"
    if not hook.teams:
        yield f"the hook {hook.name!r} hears no team and no agent"
    for team in hook.teams:
        if team not in components:
            yield f"the hook {hook.name!r} hears {team!r}, which is not of this app"
    if hook.replay not in REPLAYS:
        yield f"the hook {hook.name!r} has replay {hook.replay!r}; it may be {' or '.join(REPLAYS)}"
