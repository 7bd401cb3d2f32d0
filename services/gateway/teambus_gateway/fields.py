"""The fields of a form as what they stand for: texts, flags, numbers and JSON."""

from collections.abc import Mapping
from typing import Any

import msgspec
import structlog

from teambus.contracts.ids import TEXT_ID_LENGTH_MAX
from teambus_gateway.problems import Problem, field_problem

log = structlog.get_logger(__name__)

JSON_DEPTH_MAX = 64
NO_NUL = "String should have no NUL character"
TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
FALSE = frozenset({"0", "false", "f", "no", "n", "off"})
NOTHING = frozenset({"", "null", "none", "[]", "{}"})


def text_field(fields: Mapping[str, str], name: str) -> str | None:
    value = fields.get(name) or None
    if value is not None and len(value) > TEXT_ID_LENGTH_MAX:
        says = f"String should have at most {TEXT_ID_LENGTH_MAX} characters"
        raise field_problem("string_too_long", ("body", name), says, value)
    if value is not None and "\x00" in value:
        raise field_problem("string_pattern_mismatch", ("body", name), NO_NUL, value)
    return value


def flag_field(fields: Mapping[str, str], name: str) -> bool | None:
    value = fields.get(name, "")
    word = value.strip().lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    if word in NOTHING:
        return None
    says = "Input should be a valid boolean, unable to interpret input"
    raise field_problem("bool_parsing", ("body", name), says, value)


def integer(name: str, value: str, place: str = "body") -> int | None:
    """A whole number, or None for nothing. Raises `Problem`."""
    try:
        return int(value[:20]) if value else None
    except ValueError as error:
        says = "Input should be a valid integer, unable to parse string as an integer"
        raise field_problem("int_parsing", (place, name), says, value) from error


def metadata_field(fields: Mapping[str, str]) -> dict[str, Any] | None:
    try:
        return json_object(fields, "metadata")
    except ValueError as error:
        detail = "Invalid metadata parameter: expected a JSON object"
        raise Problem(400, detail) from error


def object_field(fields: Mapping[str, str], name: str) -> dict[str, Any] | None:
    """AgentOS drops what it cannot read here, and so do we, but not silently."""
    try:
        return json_object(fields, name)
    except ValueError as error:
        log.warning("form field dropped", field=name, error=str(error))
        return None


def json_object(fields: Mapping[str, str], name: str) -> dict[str, Any] | None:
    """Raises `ValueError` unless the field is absent or a JSON object."""
    text = fields.get(name, "")
    if text.strip().lower() in ("", "null", "none"):
        return None
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object is expected, not a {type(value).__name__}")
    check_json(value)
    return value


def _check_depth(value: Any, left: int) -> None:
    if left == 0:
        raise ValueError(f"nested more than {JSON_DEPTH_MAX} deep")
    children = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    )
    for child in children:
        _check_depth(child, left - 1)


def check_json(value: Any) -> None:
    """Raises `ValueError` for what the bus does not carry: nests too deep for those who read it."""
    try:
        _check_depth(value, JSON_DEPTH_MAX)
        msgspec.json.encode(value)
    except (msgspec.MsgspecError, OverflowError, RecursionError, TypeError) as error:
        raise ValueError(str(error)) from error
