"""Tools: what a model is told about a function, and what becomes of the arguments it writes."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import pytest

from teambus import DefinitionError
from teambus.app.docstrings import TEXT_CHARS_MAX, parse
from teambus.app.errors import ToolArgumentsError
from teambus.app.tools import tool_spec

if TYPE_CHECKING:
    from teambus import RunContext


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Place:
    city: str
    zoom: int = 3


class Point(TypedDict):
    x: int


async def search(
    words: list[str],
    run_context: RunContext,
    place: Place | None = None,
    colour: Colour = Colour.RED,
    order: Literal["up", "down"] = "up",
    team: str = "all",
    point: Point | None = None,
    limit: int = None,  # type: ignore[assignment] # noqa: RUF013 - users write it so
) -> str:
    """Find things.

    Looks everywhere.

    Args:
        words (list[str]): What to look for,
            in any language.
        limit: How many: at most.

    Returns:
        The things.
    """
    return f"{words}{run_context}{place}{colour}{order}{team}{point}{limit}"


def test_a_model_is_told_types_defaults_and_descriptions() -> None:
    spec = tool_spec(search)
    assert (spec.name, spec.description) == ("search", "Find things.\n\nLooks everywhere.")
    assert spec.is_async
    assert spec.parameters["required"] == ["words"]
    assert spec.parameters["additionalProperties"] is False
    properties = spec.parameters["properties"]
    assert properties["words"] == {
        "type": "array",
        "items": {"type": "string"},
        "description": "What to look for, in any language.",
    }
    assert properties["order"] == {"enum": ["down", "up"], "default": "up"}
    assert properties["limit"]["description"] == "How many: at most."
    assert spec.parameters["$defs"]["Place"]["required"] == ["city"]


def test_what_the_engine_gives_is_hidden_from_the_model_unless_its_type_says_otherwise() -> None:
    spec = tool_spec(search)
    assert spec.injected == {"run_context"}
    assert "team" in spec.parameters["properties"]


def test_arguments_arrive_as_the_types_the_function_asks_for() -> None:
    text = '{"words":["a"],"place":{"city":"x"},"colour":"red","point":{"x":1},"limit":null}'
    assert tool_spec(search).arguments(text) == {
        "words": ["a"],
        "place": Place("x"),
        "colour": Colour.RED,
        "point": {"x": 1},
        "limit": None,
    }


def count(number: int = 1, exact: bool = False) -> int:
    return number + exact


def test_numbers_and_flags_written_as_text_are_taken() -> None:
    assert tool_spec(count).arguments('{"number":"5","exact":"true"}') == {
        "number": 5,
        "exact": True,
    }


@pytest.mark.parametrize("text", ["", "  ", "{}"])
def test_no_arguments_leave_the_functions_own_defaults(text: str) -> None:
    assert tool_spec(count).arguments(text) == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "are not JSON"),
        ('{"number":"x"}', "Expected `int`, got `str` - at `$.number`"),
        ('{"numbr":1}', "unknown field `numbr`"),
        ("[1]", "Expected `object`"),
        ('{"number":"\ud800"}', "count"),
        ('{"number":' + "[" * 100_000, "do not fit"),
    ],
)
def test_arguments_that_do_not_fit_tell_the_model_why(text: str, says: str) -> None:
    with pytest.raises(ToolArgumentsError) as refused:
        tool_spec(count).arguments(text)
    assert says in str(refused.value)


def anything(value: Any) -> None: ...


def test_arguments_nested_without_end_are_refused() -> None:
    with pytest.raises(ToolArgumentsError):
        tool_spec(anything).arguments('{"value":' + "[" * 100_000 + "]" * 100_000 + "}")


def complex_one(x: complex) -> None: ...


def unknown_hint(x: Nowhere) -> None: ...  # type: ignore[name-defined] # noqa: F821 - it is refused


def positional(x: int, /) -> None: ...


def starred(*words: str) -> None: ...


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (complex_one, "tool 'complex_one': a parameter has a type that JSON cannot carry"),
        (unknown_hint, "its type hints cannot be read: name 'Nowhere' is not defined"),
        (positional, "a model gives arguments by name, so x: 'int' cannot be filled"),
        (starred, "a model gives arguments by name"),
        (lambda x: x, "needs a name"),
    ],
)
def test_a_function_no_model_could_call_is_refused(function: Callable[..., Any], says: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        tool_spec(function)
    assert says in str(refused.value)


def test_a_tool_may_have_the_name_of_a_type_it_uses() -> None:
    def build(where: Place) -> str:
        return where.city

    build.__name__ = "Place"
    spec = tool_spec(build)
    assert list(spec.parameters["properties"]) == ["where"]
    assert spec.arguments('{"where":{"city":"x"}}') == {"where": Place("x")}


def test_a_method_is_a_tool_without_its_object() -> None:
    class Shelf:
        def take(self, count: int) -> int:
            return count

    assert list(tool_spec(Shelf().take).parameters["properties"]) == ["count"]


NUMPY = """Sum up.

Parameters
----------
first : int
    The one,
    and only.
second
    The other.

Returns
-------
int
    The sum.
"""
SPHINX = """Sum up.

:param int first: The one,
    and only.
:param second: The other.
:returns: The sum.
"""
GOOGLE = """Sum up.

Args:
    first (int): The one,
        and only.
    second: The other.

Returns:
    int: The sum.
"""


@pytest.mark.parametrize("text", [NUMPY, SPHINX, GOOGLE])
def test_the_three_styles_of_docstring_say_the_same(text: str) -> None:
    doc = parse(text)
    assert doc.description == "Sum up."
    assert doc.arguments == {"first": "The one, and only.", "second": "The other."}


def test_prose_is_not_read_as_a_section() -> None:
    doc = parse("Returns\nwhat you gave.\n\nNote that: it is so.")
    assert doc.description == "Returns\nwhat you gave.\n\nNote that: it is so."
    assert parse(None).description == ""


def test_a_long_docstring_is_cut() -> None:
    doc = parse("x" * 9999 + "\n\nArgs:\n    a: " + "y" * 9999)
    assert len(doc.description) == len(doc.arguments["a"]) == TEXT_CHARS_MAX
