"""A tool: a function a model may call, described from its type hints and docstring."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_type_hints

import msgspec

from teambus.app.agents import Agent
from teambus.app.contexts import RunContext
from teambus.app.docstrings import Docstring, parse
from teambus.app.errors import DefinitionError, ToolArgumentsError
from teambus.app.injection import is_async
from teambus.app.teams import Team
from teambus.app.tool_marks import is_repeatable
from teambus.contracts.ids import ID_RULE, is_id

INJECTED: Mapping[str, type] = {"run_context": RunContext, "team": Team, "agent": Agent}
"""Given by the engine and not shown to the model, unless the hint says it is something else."""

_REF = "#/$defs/{name}"
_FORBIDDEN = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """`parameters` is a JSON Schema; `injected` are the names the engine must give; one that is
    not `repeatable` is not called again when its outcome is unknown.
    """

    name: str
    description: str | None
    parameters: dict[str, Any]
    function: Callable[..., Any]
    is_async: bool
    injected: frozenset[str]
    arguments_type: type[msgspec.Struct]
    repeatable: bool = True

    def arguments(self, text: str) -> dict[str, Any]:
        """The keyword arguments from what the model wrote, as the types the function asks for.

        A number or flag written as text is taken. Raises `ToolArgumentsError`, whose text tells the
        model what is wrong.
        """
        data = text.strip().encode("utf-8", "surrogatepass") or b"{}"
        try:
            read = msgspec.json.decode(data, type=self.arguments_type)
        except msgspec.ValidationError as error:
            read = self._read_leniently(data, error)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ToolArgumentsError(
                f"the arguments of {self.name} are not JSON: {error}"
            ) from error
        values = {name: getattr(read, name) for name in read.__struct_fields__}
        return {name: value for name, value in values.items() if value is not msgspec.UNSET}

    def _read_leniently(self, data: bytes, first: Exception) -> msgspec.Struct:
        try:
            return msgspec.json.decode(data, type=self.arguments_type, strict=False)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ToolArgumentsError(f"the arguments of {self.name} do not fit: {first}") from error


def tool_spec(function: Callable[..., Any]) -> ToolSpec:
    """Describe a function; raises `DefinitionError` when a model could not call it."""
    name = getattr(function, "__name__", "")
    label = f"tool {name!r}"
    if not is_id(name):
        raise DefinitionError(
            f"tool {function!r} needs a name of {ID_RULE}; make it a named function"
        )
    hints = _hints(function, label)
    parameters = _signature(function, label)
    injected = frozenset(each for each in parameters if _is_injected(each, hints))
    shown = {each: parameters[each] for each in parameters if each not in injected}
    doc = parse(inspect.getdoc(function))
    arguments_type = _arguments_type(name, shown, hints, doc)
    return ToolSpec(
        name=name,
        description=doc.description or None,
        parameters=_schema(arguments_type, shown, label),
        function=function,
        is_async=is_async(function),
        injected=injected,
        arguments_type=arguments_type,
        repeatable=is_repeatable(function),
    )


def _hints(function: Callable[..., Any], label: str) -> dict[str, Any]:
    # A module may import our classes for its type checker only, so their names are known anyway.
    ours = {each.__name__: each for each in INJECTED.values()}
    scope = {**ours, **getattr(inspect.unwrap(function), "__globals__", {})}
    try:
        return get_type_hints(function, globalns=scope, include_extras=True)
    except (NameError, TypeError, SyntaxError) as error:
        raise DefinitionError(f"{label}: its type hints cannot be read: {error}") from error


def _signature(function: Callable[..., Any], label: str) -> dict[str, inspect.Parameter]:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise DefinitionError(f"{label} does not tell its parameters: {error}") from error
    for each in parameters.values():
        if each.kind in _FORBIDDEN:
            raise DefinitionError(
                f"{label}: a model gives arguments by name, so {each} cannot be filled;"
                " make it a named one"
            )
    return {
        n: each for n, each in parameters.items() if each.kind is not inspect.Parameter.VAR_KEYWORD
    }


def _is_injected(name: str, hints: Mapping[str, Any]) -> bool:
    expected = INJECTED.get(name)
    hint = hints.get(name, Any)
    return expected is not None and (hint is Any or expected in (hint, *get_args(hint)))


def _arguments_type(
    name: str, shown: Mapping[str, inspect.Parameter], hints: Mapping[str, Any], doc: Docstring
) -> type[msgspec.Struct]:
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for each, parameter in shown.items():
        hint = hints.get(each, Any)
        if parameter.default is None and hint is not Any:
            hint = Union[hint, None]  # noqa: UP007 - a hint may be what `|` refuses
        hint = _described(hint, doc.arguments.get(each))
        if parameter.default is inspect.Parameter.empty:
            fields.append((each, hint))
        else:
            fields.append((each, Union[hint, msgspec.UnsetType], msgspec.UNSET))  # noqa: UP007 - the same
    # Built late, so a field the type cannot hold is found by the schema, which says which one.
    return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)


def _described(hint: Any, text: str | None) -> Any:
    return Annotated[hint, msgspec.Meta(description=text)] if text else hint


def _schema(
    arguments_type: type[msgspec.Struct], shown: Mapping[str, inspect.Parameter], label: str
) -> dict[str, Any]:
    try:
        (reference,), components = msgspec.json.schema_components(
            [arguments_type], ref_template=_REF
        )
        msgspec.json.Decoder(arguments_type)
    except (TypeError, ValueError, NameError, AttributeError) as error:
        raise DefinitionError(
            f"{label}: a parameter has a type that JSON cannot carry: {error};"
            " use str, int, float, bool, list, dict, Literal, Enum, a TypedDict or a dataclass"
        ) from error
    own = components.pop(reference["$ref"].removeprefix(_REF.format(name="")))
    properties = own["properties"]
    for name, parameter in shown.items():
        _add_default(properties[name], parameter.default)
    schema = {
        "type": "object",
        "properties": properties,
        "required": own.get("required", []),
        "additionalProperties": False,
    }
    return {**schema, "$defs": components} if components else schema


def _add_default(schema: dict[str, Any], default: Any) -> None:
    if isinstance(default, (str, int, float, bool)):
        schema["default"] = default
