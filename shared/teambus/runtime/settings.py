"""Reading settings from the environment: every mistake at once, in words an operator can act on."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

import msgspec

S = TypeVar("S")


class SettingsError(ValueError):
    """one line for each setting that is missing or wrong"""


def read_settings(kind: type[S], prefix: str, environment: Mapping[str, str]) -> S:
    """Build the dataclass `kind` from variables named `<PREFIX>_<FIELD>`.

    A field's metadata may name its variable in full (`variable`), for those shared by services.
    What `is_secret` may also stand in a file that `<VARIABLE>_FILE` names. A field with a `group`
    is a dataclass of its own, whose variables begin with that.
    """
    assert dataclasses.is_dataclass(kind), kind
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    for field in dataclasses.fields(kind):
        if group := field.metadata.get("group"):
            try:
                values[field.name] = read_settings(hints[field.name], group, environment)
            except ValueError as error:
                mistakes.append(str(error))
            continue
        variable = _variable(prefix, field)
        try:
            text = _text(variable, environment, is_secret=field.metadata.get("is_secret", False))
        except SettingsError as error:
            mistakes.append(str(error))
            continue
        if text is None or text == "":
            if _required(field):
                mistakes.append(f"{variable} is not set")
            continue
        try:
            values[field.name] = convert(text, hints[field.name])
        except msgspec.ValidationError as error:
            mistakes.append(f"{variable}={text!r}: {error}")
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return kind(**values)


def variables(kind: type[Any], prefix: str) -> list[str]:
    """The names of all that `read_settings` reads."""
    hints = get_type_hints(kind)
    found = []
    for field in dataclasses.fields(kind):
        if group := field.metadata.get("group"):
            found += variables(hints[field.name], group)
        else:
            found.append(_variable(prefix, field))
    return found


def _variable(prefix: str, field: "dataclasses.Field[Any]") -> str:
    return cast("str", field.metadata.get("variable", f"{prefix}_{field.name}".upper()))


def _text(variable: str, environment: Mapping[str, str], *, is_secret: bool) -> str | None:
    text, named = environment.get(variable), environment.get(f"{variable}_FILE")
    if not (is_secret and named):
        return text
    if text:
        raise SettingsError(f"{variable} and {variable}_FILE are both set; set one")
    try:
        secret = Path(named).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{variable}_FILE={named!r} cannot be read: {error}") from error
    if not secret:
        raise SettingsError(f"{variable}_FILE={named!r} is empty")
    return secret


def convert(text: str, kind: Any) -> Any:
    if kind == tuple[str, ...]:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if kind in (Path, Path | None):
        return Path(text)
    if kind is bool:
        return msgspec.convert(text.strip().lower() in ("1", "true", "yes", "on"), bool)
    return msgspec.convert(text, kind, strict=False)


def _required(field: "dataclasses.Field[Any]") -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing
