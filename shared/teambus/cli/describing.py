"""`teambus describe`, and reading what it wrote where the app's code may not go."""

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from teambus.app.describe import describe
from teambus.cli.options import UsageError, named_app
from teambus.contracts.catalogue import AppDescription
from teambus.contracts.message import MalformedMessage, decode
from teambus.domain.descriptions import mistakes_of
from teambus.runtime.loading import load_app


def described(variables: Mapping[str, str]) -> AppDescription:
    """The named app in words, by running its code."""
    app, app_dir = named_app(variables)
    # What the user's module prints while it is imported must not mix with what is asked for.
    with contextlib.redirect_stdout(sys.stderr):
        return describe(load_app(app, app_dir))


def run(variables: Mapping[str, str], *, out: Path | None, app_id: str | None) -> int:
    description = described(variables)
    if app_id is not None and description.id != app_id:
        raise UsageError(
            f"the app's id is {description.id!r}, not {app_id!r};"
            f" write TeamBus(id={app_id!r}), or use the id it has"
        )
    text = msgspec.json.format(msgspec.json.encode(description), indent=2).decode()
    if out is None:
        print(text)
        return 0
    try:
        out.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write to {str(out)!r}: {error.strerror}") from error
    print(f"the app {description.id} is described in {out}")
    return 0


def read_descriptions(files: Sequence[Path]) -> list[AppDescription]:
    """What these files say, if all of it may be acted on. Runs no code of any app."""
    found: dict[str, Path] = {}
    descriptions = []
    for file in files:
        description = _read(file)
        if description.id in found:
            raise UsageError(
                f"{found[description.id]} and {file} both describe the app {description.id!r};"
                " leave one out"
            )
        found[description.id] = file
        descriptions.append(description)
    return descriptions


def _read(file: Path) -> AppDescription:
    try:
        description = decode(AppDescription, file.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {str(file)!r}: {error.strerror}") from error
    except MalformedMessage as error:
        raise UsageError(f"{file} is {error}; write it with teambus describe --out") from error
    if mistakes := mistakes_of(description):
        raise UsageError(f"{file} cannot be provisioned: {'; '.join(mistakes)}")
    return description
