"""How options are taken: by name, known, of the right type and size, or not at all."""

import difflib
import functools
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import (
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from teambus.app.errors import DefinitionError

T = TypeVar("T")
VALUE_SHOWN_CHARS_MAX = 60


def at_least(minimum: float, *, default: Any) -> Any:
    """A number that may be left out (`default`), but not be smaller than `minimum`."""
    return field(default=default, metadata={"minimum": minimum})


def hidden(*, default: Any, kw_only: bool = True) -> Any:
    """A value that may hold a secret, so no text made from the object ever shows it."""
    return field(default=default, repr=False, kw_only=kw_only)


@dataclass_transform(
    kw_only_default=True, eq_default=False, field_specifiers=(field, at_least, hidden)
)
def definition(noun: str) -> Callable[[type[T]], type[T]]:
    """A class of declarations: an option given as None is not given.

    Options are given by name, but for those declared with `kw_only=False`.
    """

    def make(cls: type[T]) -> type[T]:
        made = dataclass(kw_only=True, slots=True, eq=False)(cls)
        construct = made.__init__
        known: dict[str, Field[Any]] = {
            each.name: each for each in fields(cast("Any", made)) if each.init
        }
        leading = [name for name, each in known.items() if not each.kw_only]

        @functools.wraps(construct)
        def guarded(self: Any, *positional: Any, **options: Any) -> None:
            named = {**dict(zip(leading, positional, strict=False)), **options}
            given = {name: value for name, value in named.items() if value is not None}
            label = labelled(noun, given.get("name") or given.get("id"))
            if len(positional) + len(options) > len(named):
                raise DefinitionError(
                    f"{label}: options are given by name, as in {cls.__name__}(name=...)"
                )
            mistakes = [
                *unknown_options(label, options, known),
                *_misfits(label, given, made, known),
            ]
            if mistakes:
                raise DefinitionError(*mistakes)
            construct(self, **given)

        type.__setattr__(made, "__init__", guarded)
        return made

    return make


def labelled(noun: str, name: object) -> str:
    return f"{noun} {name!r}" if name else noun


def unknown_options(label: str, given: Iterable[str], known: Iterable[str]) -> list[str]:
    names = list(known)
    return [
        f"unknown option {name!r} for {label}; {_suggestion(name, names)}"
        for name in given
        if name not in names
    ]


def _suggestion(name: str, known: list[str]) -> str:
    if close := difflib.get_close_matches(name, known, n=1):
        return f"did you mean {close[0]!r}?"
    return f"it takes {', '.join(known)}"


def _misfits(
    label: str, given: Mapping[str, Any], cls: type, known: Mapping[str, Field[Any]]
) -> list[str]:
    hints = get_type_hints(cls)
    mistakes = []
    for name in given.keys() & known.keys():
        value, shown = given[name], known[name].repr
        if not fits(value, hints[name]):
            what = f"{name}={shortened(value)}" if shown else name
            mistakes.append(
                f"{label}: {what} is of type {type(value).__name__};"
                f" it must be {words(hints[name])}"
            )
        elif not _large_enough(value, known[name]):
            minimum = known[name].metadata["minimum"]
            mistakes.append(
                f"{label}: {name}={shortened(value)} is too small; it must be at least {minimum}"
            )
    return sorted(mistakes)


def _large_enough(value: Any, option: Field[Any]) -> bool:
    # Written so that "not a number" is refused too.
    return "minimum" not in option.metadata or bool(value >= option.metadata["minimum"])


def shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= VALUE_SHOWN_CHARS_MAX else text[:VALUE_SHOWN_CHARS_MAX] + "..."


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is what an option's type says; True and False are no numbers."""
    origin = get_origin(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, each) for each in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if origin is list:
        return isinstance(value, list) and all(fits(each, get_args(hint)[0]) for each in value)
    if hint in (int, float) and isinstance(value, bool):
        return False
    if hint is float:
        return isinstance(value, (int, float))
    return isinstance(value, origin or hint)


def words(hint: Any) -> str:
    """A type in words, as one would tell a user."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(words(each) for each in arguments if each is not type(None))
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin is list:
        return f"a list of {words(arguments[0])}"
    if origin is Callable or hint is Callable:
        return "function"
    return getattr(origin or hint, "__name__", str(hint))


def not_json(label: str, **values: object) -> list[str]:
    """Mistakes for values that cannot travel on the bus."""
    mistakes = []
    for name, value in values.items():
        try:
            msgspec.json.encode(value)
        except (TypeError, ValueError) as error:
            mistakes.append(f"{label}: {name} must hold what JSON can: {error}")
    return mistakes
