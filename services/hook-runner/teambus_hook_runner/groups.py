"""Which of an app's hooks this hook-runner delivers: hook-runners may share them out in groups."""

from collections.abc import Iterable

from teambus.contracts.catalogue import HookDescription
from teambus.runtime.settings import SettingsError


def chosen(
    hooks: Iterable[HookDescription], *, only: tuple[str, ...], all_but: tuple[str, ...]
) -> list[HookDescription]:
    """Those that are named, or else all that are not. Raises `SettingsError` for unknown names:
    a hook that nobody delivers, or two groups do, would show only later.
    """
    known = {hook.name: hook for hook in hooks}
    for variable, names in (("HOOK_RUNNER_HOOKS", only), ("HOOK_RUNNER_HOOKS_EXCEPT", all_but)):
        if unknown := sorted(set(names) - known.keys()):
            raise SettingsError(
                f"{variable} names {', '.join(map(repr, unknown))};"
                f" the app's background hooks are {', '.join(sorted(known)) or 'none'}"
            )
    if only:
        return [hook for name, hook in known.items() if name in only]
    return [hook for name, hook in known.items() if name not in all_but]
