"""`@hook`: what an author says about a hook, kept on the function itself."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar, Unpack, overload

from teambus.app.errors import DefinitionError
from teambus.app.options import fits, labelled, shortened, unknown_options
from teambus.contracts.ids import ID_RULE, is_id
from teambus.contracts.output import RunStatus

HookFunction: TypeAlias = Callable[..., Any]
F = TypeVar("F", bound=HookFunction)

FINAL_STATUSES = (RunStatus.COMPLETED.value, RunStatus.ERROR.value, RunStatus.CANCELLED.value)
REPLAYS = ("new", "all")
RETRY_DELAY_S_MAX = 600
RETRY_BUDGET_S_MAX = 7 * 24 * 3600
_MARK = "__teambus_hook__"
"""The attribute a marked function, or a hook that is no function, has its options in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookOptions:
    """How a background hook is delivered.

    `on`: the final statuses it hears of. `replay`: a hook that is new to the bus hears of runs from
    now on ("new") or of all that are still kept ("all").
    """

    run_in_background: bool = False
    name: str | None = None
    attempts_max: int = 5
    timeout_s: float = 60
    backoff_s: float = 1
    concurrency_max: int = 16
    on: tuple[str, ...] = (RunStatus.COMPLETED.value,)
    replay: str = "new"

    @property
    def retry_budget_s(self) -> float:
        """How long a delivery may take until it is given up: all waits and all timeouts."""
        waits, delay_s = 0.0, self.backoff_s
        left = self.attempts_max - 1
        while left > 0 and 0 < delay_s < RETRY_DELAY_S_MAX:
            waits, delay_s, left = waits + delay_s, delay_s * 2, left - 1
        return waits + left * min(delay_s, RETRY_DELAY_S_MAX) + self.attempts_max * self.timeout_s


class HookKeywords(TypedDict, total=False):
    """What may be given to `@hook`, for type checkers; `HookOptions` has the defaults."""

    run_in_background: bool
    name: str | None
    attempts_max: int
    timeout_s: float
    backoff_s: float
    concurrency_max: int
    on: tuple[str, ...]
    replay: Literal["new", "all"]


@overload
def hook(function: F, /) -> F: ...
@overload
def hook(**options: Unpack[HookKeywords]) -> Callable[[F], F]: ...
def hook(function: HookFunction | None = None, /, **options: Any) -> Any:
    """Mark a hook, `@hook` or `@hook(run_in_background=True, ...)`; the function stays itself.

    Marks stack: the outer one adds to the inner, and background once said stays said.
    """

    def mark(function: HookFunction) -> HookFunction:
        label = labelled("hook", getattr(function, "__name__", None))
        if not callable(function):
            raise DefinitionError(
                f"hook: {shortened(function)} is not a function; write @hook above one"
            )
        before = options_of(function)
        made = checked(label, before, options)
        made = replace(made, run_in_background=before.run_in_background or made.run_in_background)
        _put_mark(function, made, label)
        return function

    return mark if function is None else mark(function)


def checked(label: str, before: HookOptions, options: dict[str, Any]) -> HookOptions:
    """`before` with these options; raises `DefinitionError` with every mistake in them."""
    _refuse_mistakes(label, options)
    given = {name: value for name, value in options.items() if value is not None}
    made = replace(before, **given)
    _refuse_budget(label, made)
    return made


def options_of(function: HookFunction) -> HookOptions:
    """What `@hook` said of the function; the defaults when it was not marked."""
    marked = getattr(function, _MARK, None)
    return marked if isinstance(marked, HookOptions) else HookOptions()


def _put_mark(function: HookFunction, options: HookOptions, label: str) -> None:
    try:
        setattr(function, _MARK, options)
    except AttributeError as error:
        raise DefinitionError(
            f"{label}: {type(function).__name__} objects cannot be marked;"
            " mark the function it is made from"
        ) from error


def _refuse_mistakes(label: str, options: dict[str, Any]) -> None:
    known = [each.name for each in fields(HookOptions)]
    mistakes = unknown_options(label, options, known)
    for name, value in options.items():
        rule = _RULES.get(name)
        if rule and value is not None and not rule[0](value):
            mistakes.append(f"{label}: {name}={shortened(value)} must be {rule[1]}")
    if mistakes:
        raise DefinitionError(*mistakes)


def _refuse_budget(label: str, options: HookOptions) -> None:
    if not options.retry_budget_s <= RETRY_BUDGET_S_MAX:
        raise DefinitionError(
            f"{label}: its attempts could take {options.retry_budget_s / 86400:.1f} days,"
            " at most 7 are allowed; lower attempts_max, timeout_s or backoff_s"
        )


def _is_statuses(value: Any) -> bool:
    return (
        isinstance(value, (tuple, list))
        and bool(value)
        and all(each in FINAL_STATUSES for each in value)
    )


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "run_in_background": (lambda value: isinstance(value, bool), "True or False"),
    "name": (lambda value: isinstance(value, str) and is_id(value), ID_RULE),
    "attempts_max": (lambda value: fits(value, int) and value >= 1, "a whole number, at least 1"),
    "timeout_s": (lambda value: fits(value, float) and value > 0, "a number of seconds above 0"),
    "backoff_s": (
        lambda value: fits(value, float) and value >= 0,
        "a number of seconds, at least 0",
    ),
    "concurrency_max": (
        lambda value: fits(value, int) and value >= 1,
        "a whole number, at least 1",
    ),
    "on": (_is_statuses, f"a tuple of some of {', '.join(FINAL_STATUSES)}"),
    "replay": (lambda value: value in REPLAYS, "'new' or 'all'"),
}
