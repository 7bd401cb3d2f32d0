"""The `teambus` command: options in, one clear line and an exit code out."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from teambus.app.errors import DefinitionError
from teambus.bus.errors import BusError
from teambus.cli import (
    contracts,
    dead_letters,
    demo,
    describing,
    doctor,
    granting,
    keys,
    provisioning,
    replaying,
)
from teambus.cli.options import UsageError, environment, named_app, parse
from teambus.cli.sample import model_of, sample_app
from teambus.local import announce, folder
from teambus.local.errors import LocalError
from teambus.local.settings import ServeSettings
from teambus.local.supervisor import serve
from teambus.runtime.loading import LoadError
from teambus.runtime.logging import configure_logging
from teambus.runtime.management import report
from teambus.runtime.settings import SettingsError, read_settings

FAILED = 1
REFUSED = 2
INTERRUPTED = 130
MISTAKES = (UsageError, LocalError, LoadError, DefinitionError, SettingsError, BusError)
Options = argparse.Namespace


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    try:
        return COMMANDS[options.command](options)
    except MISTAKES as mistake:
        report(error=str(mistake))
        _say(f"teambus {options.command}: {mistake}")
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED


def _serve(options: Options) -> int:
    configure_logging("supervisor")
    variables = environment(options, os.environ)
    named_app(variables)
    settings = read_settings(ServeSettings, "TEAMBUS", variables)
    asyncio.run(serve(settings, _say, watch_fd=options.watch_fd))
    return 0


def _provision(options: Options) -> int:
    configure_logging("provision")
    what = provisioning.Wanted(tuple(options.description), options.streams_only, options.prune)
    return provisioning.run(environment(options, os.environ), what)


def _describe(options: Options) -> int:
    variables = environment(options, os.environ)
    return describing.run(variables, out=options.out, app_id=options.id)


def _contracts(options: Options) -> int:
    try:
        written = contracts.write(options.out)
    except OSError as error:
        raise UsageError(f"cannot write to {str(options.out)!r}: {error.strerror}") from error
    print(f"{len(written)} documents are in {options.out}")
    return 0


def _permissions(options: Options) -> int:
    return granting.run(options, environment(options, os.environ))


def _status(options: Options) -> int:
    variables = environment(options, os.environ)
    data_dir = Path(variables.get("TEAMBUS_DATA_DIR") or ".teambus").absolute()
    said = folder.read_status(data_dir)
    if said is None:
        print(f"nothing is served with the data in {data_dir}")
        return FAILED
    print(f"{said.get('app', 'an app')} is served at {said.get('url')} since {said.get('since')}")
    print(f"  {'supervisor':<12} pid {said.get('pid')}\n{announce.table(said)}")
    return 0


def _doctor(options: Options) -> int:
    configure_logging("doctor", level="error")
    return doctor.run(environment(options, os.environ), as_json=options.json)


def _dead_letters(options: Options) -> int:
    configure_logging("dead-letters")
    return asyncio.run(dead_letters.run(options, environment(options, os.environ)))


def _hooks(options: Options) -> int:
    configure_logging("hooks")
    return asyncio.run(replaying.run(options, environment(options, os.environ)))


def _run(options: Options) -> int:
    configure_logging("supervisor")
    asyncio.run(_run_sample(sample_app(environment(options, os.environ))))
    return 0


async def _run_sample(variables: dict[str, str]) -> None:
    settings = read_settings(ServeSettings, "TEAMBUS", variables)
    async with model_of(variables) as model:
        _say(model.line)
        os.environ.update(model.environment)
        await serve(settings, _say)


def _demo(options: Options) -> int:
    variables = environment(options, os.environ)
    return asyncio.run(demo.run(variables, _show, last_line=options.until))


def _show(text: str) -> None:
    print(text, flush=True)


def _say(text: str) -> None:
    """Beside what is asked for: users' hooks and commands have stdout for themselves."""
    print(text, file=sys.stderr, flush=True)


COMMANDS: dict[str, Callable[[Options], int]] = {
    "serve": _serve,
    "provision": _provision,
    "describe": _describe,
    "contracts": _contracts,
    "permissions": _permissions,
    "status": _status,
    "doctor": _doctor,
    "dead-letters": _dead_letters,
    "hooks": _hooks,
    "keys": keys.run,
    "run": _run,
    "demo": _demo,
}
