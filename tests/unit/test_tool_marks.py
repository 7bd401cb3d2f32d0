"""What an author may say of a tool, and what it leaves of the function."""

from typing import Any

import pytest

from teambus import DefinitionError, tool
from teambus.app.tool_marks import is_repeatable
from teambus.app.tools import tool_spec


def charge(customer: str, cents: int) -> str:
    """Charge a customer."""
    return f"{customer} {cents}"


def a_tool() -> Any:
    def find(word: str) -> str:
        return word

    return find


def test_a_function_without_a_mark_may_be_called_again() -> None:
    assert is_repeatable(a_tool())
    assert tool_spec(a_tool()).repeatable


@pytest.mark.parametrize("mark", [tool, tool(), tool(retry="safe")])
def test_a_safe_tool_may_be_called_again(mark: Any) -> None:
    marked = mark(a_tool())
    assert tool_spec(marked).repeatable


def test_a_tool_marked_never_is_the_same_function_and_not_called_again() -> None:
    function = a_tool()
    assert tool(retry="never")(function) is function
    assert not tool_spec(function).repeatable
    assert tool_spec(function).name == "find"


def test_never_once_said_stays_said() -> None:
    assert not is_repeatable(tool(tool(retry="never")(a_tool())))
    assert not is_repeatable(tool(retry="safe")(tool(retry="never")(a_tool())))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"retry": "sometimes"}, "tool 'charge': retry='sometimes' must be 'safe' or 'never'"),
        ({"retry": None}, "tool 'charge': retry=None must be 'safe' or 'never'"),
        ({"retry": []}, "retry=\\[\\] must be 'safe' or 'never'"),
        ({"retries": "never"}, "unknown option 'retries' for tool 'charge'; did you mean 'retry'"),
    ],
)
def test_a_wrong_mark_says_what_is_wrong(options: dict[str, Any], says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        tool(**options)(charge)


@pytest.mark.parametrize("mark", [tool, tool(retry="never")])
def test_only_a_function_is_marked(mark: Any) -> None:
    with pytest.raises(DefinitionError, match="'charge' is not a function; write @tool above one"):
        mark("charge")


def test_what_cannot_carry_the_mark_is_refused() -> None:
    with pytest.raises(DefinitionError, match="mark the function it is made from"):
        tool(retry="never")("text".join)
