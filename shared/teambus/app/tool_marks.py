"""`@tool`: what an author says about a tool, kept on the function itself."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args, overload

from teambus.app.errors import DefinitionError
from teambus.app.options import labelled, shortened, unknown_options

F = TypeVar("F", bound=Callable[..., Any])

Retry = Literal["safe", "never"]
_MARK = "__teambus_tool_never_again__"


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(*, retry: Retry = "safe") -> Callable[[F], F]: ...
def tool(function: Any = None, /, **options: Any) -> Any:
    """Mark a tool, `@tool` or `@tool(retry="never")`; the function stays itself.

    `retry` says what follows when a process died while the tool was being called. "safe": it is
    called again, as every function without a mark. "never": it is not; the model is told that the
    outcome is unknown. Marks stack, and "never" once said stays said.
    """

    def mark(function: Any) -> Any:
        label = labelled("tool", getattr(function, "__name__", None))
        if not callable(function):
            raise DefinitionError(
                f"tool: {shortened(function)} is not a function; write @tool above one"
            )
        mistakes = unknown_options(label, options, ["retry"])
        retry = options.get("retry", "safe")
        if retry not in get_args(Retry):
            mistakes.append(f"{label}: retry={shortened(retry)} must be 'safe' or 'never'")
        if mistakes:
            raise DefinitionError(*mistakes)
        if retry == "never":
            _put_mark(function, label)
        return function

    return mark if function is None else mark(function)


def is_repeatable(function: Callable[..., Any]) -> bool:
    return not getattr(function, _MARK, False)


def _put_mark(function: Any, label: str) -> None:
    try:
        setattr(function, _MARK, True)
    except AttributeError as error:
        raise DefinitionError(
            f"{label}: {type(function).__name__} objects cannot be marked;"
            " mark the function it is made from"
        ) from error
