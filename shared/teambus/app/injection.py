"""What a hook is given: the arguments it names, of those there are."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

Place = Literal["pre", "post", "background"]

_COMMON = ("run_input", "run_context", "session", "user_id", "debug_mode", "metadata")
_ALWAYS: Mapping[str, Any] = {"debug_mode": False}


@dataclass(frozen=True, slots=True)
class Wants:
    """The names a function asks for. With `everything` (`**kwargs`) it takes all there is."""

    names: frozenset[str]
    required: frozenset[str]
    everything: bool


def injectable(place: Place, owner: Literal["team", "agent"]) -> tuple[str, ...]:
    """What a hook may name, by where it runs and whose hook it is."""
    after = () if place == "pre" else ("run_output",)
    background = ("delivery",) if place == "background" else ()
    return (*after, *_COMMON, owner, *background)


@cache
def wants(function: Callable[..., Any]) -> Wants:
    """Raises TypeError or ValueError for a callable that does not tell its parameters."""
    parameters = inspect.signature(function).parameters.values()
    named = [each for each in parameters if each.kind in _BY_NAME]
    required = {each.name for each in parameters if _is_required(each)}
    everything = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)
    return Wants(frozenset(each.name for each in named), frozenset(required), everything)


_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_UNNAMED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is inspect.Parameter.empty and parameter.kind not in _UNNAMED


def bind(function: Callable[..., Any], available: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments to call `function` with. A name that is not there keeps its default."""
    given = {**_ALWAYS, **available}
    asked = wants(function)
    if asked.everything:
        return given
    return {name: value for name, value in given.items() if name in asked.names}


def missing(function: Callable[..., Any], names: Iterable[str]) -> list[str]:
    """The required parameters that none of `names` would fill."""
    asked = wants(function)
    unnamed = asked.required - asked.names
    return sorted(unnamed | (asked.required - set(names)))


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives something to await."""
    return _is(inspect.iscoroutinefunction, function)


def is_generator(function: Callable[..., Any]) -> bool:
    """Whether calling it would run nothing, because its body yields."""
    return _is(inspect.isgeneratorfunction, function) or _is(inspect.isasyncgenfunction, function)


def _is(claim: Callable[[Any], bool], function: Callable[..., Any]) -> bool:
    return claim(function) or claim(inspect.getattr_static(type(function), "__call__", None))
