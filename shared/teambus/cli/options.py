"""The command line's options. Each that is given stands in for the variable it is short for."""

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from teambus.cli.keys_options import add_keys
from teambus.cli.operating import add_dead_letters, add_hooks

VARIABLES = {
    "app": "TEAMBUS_APP",
    "app_dir": "TEAMBUS_APP_DIR",
    "host": "TEAMBUS_HOST",
    "port": "TEAMBUS_PORT",
    "reload": "TEAMBUS_RELOAD",
    "data_dir": "TEAMBUS_DATA_DIR",
    "tenant": "TEAMBUS_TENANT",
    "identity": "DOCTOR_IDENTITY",
}
REFUSED = 2
PORT_MAX = 65535


class UsageError(Exception):
    """what was asked for lacks something"""


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="teambus", description="Teams of agents as services on NATS.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (what, add) in COMMANDS.items():
        add(commands.add_parser(name, help=what, description=what))
    return parser.parse_args(argv)


def environment(options: argparse.Namespace, base: Mapping[str, str]) -> dict[str, str]:
    """The variables, with what was given on the command line in place of them."""
    given = {
        variable: str(value)
        for name, variable in VARIABLES.items()
        if (value := getattr(options, name, None)) is not None
    }
    return {**base, **given}


def named_app(variables: Mapping[str, str]) -> tuple[str, str]:
    """The app and the folder it is in."""
    app = variables.get("TEAMBUS_APP")
    if not app:
        raise UsageError("no app is named; write --app module:attr, or set TEAMBUS_APP")
    return app, variables.get("TEAMBUS_APP_DIR") or os.curdir


class _Parser(argparse.ArgumentParser):
    """Says a mistake in one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        self.exit(REFUSED, f"{self.prog}: {message}; see {self.prog} --help\n")


def _add_app(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--app", help="module[:attr] or file.py[:attr] (TEAMBUS_APP)")
    parser.add_argument(
        "--app-dir", help="the folder to import it from; default: this one (TEAMBUS_APP_DIR)"
    )


def _add_data_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir", help="where all data is kept; default: .teambus (TEAMBUS_DATA_DIR)"
    )


def _add_serve(parser: argparse.ArgumentParser) -> None:
    _add_app(parser)
    parser.add_argument("--host", help="default: 127.0.0.1 (TEAMBUS_HOST)")
    parser.add_argument("--port", type=_port, help="default: 7777; 0: a free one (TEAMBUS_PORT)")
    parser.add_argument(
        "--reload", action="store_const", const=True, help="load the app again when it changes"
    )
    parser.add_argument("--watch-fd", type=int, help="end when this inherited pipe is closed")
    _add_data_dir(parser)


def _add_describe(parser: argparse.ArgumentParser) -> None:
    _add_app(parser)
    parser.add_argument("--out", type=Path, help="the file to write it to; default: stdout")
    parser.add_argument("--id", help="refuse when the app's id is another")


def _add_provision(parser: argparse.ArgumentParser) -> None:
    _add_app(parser)
    parser.add_argument(
        "--description",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="what teambus describe wrote, in place of an app, whose code is not run; repeatable",
    )
    parser.add_argument(
        "--streams-only", action="store_true", help="make the streams, and nothing for any app"
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help="drop the deliveries of hooks that the app has not any more; what they are is said",
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    _add_app(parser)
    parser.add_argument("--port", type=_port, help="default: 7777")
    _add_data_dir(parser)


def _add_demo(parser: argparse.ArgumentParser) -> None:
    _add_app(parser)
    parser.add_argument(
        "--until",
        default="is entered",
        help="what the last line printed by a background hook contains; default: the sample's",
    )


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="say it to a program")
    parser.add_argument(
        "--identity", help="look only at what this one may do, as who it is (DOCTOR_IDENTITY)"
    )
    _add_data_dir(parser)


def _add_permissions(parser: argparse.ArgumentParser) -> None:
    _add_app(parser)
    parser.add_argument(
        "--description",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="what teambus describe wrote, in place of an app; once for each app of the bus",
    )
    parser.add_argument(
        "--tenant",
        dest="tenants",
        action="append",
        default=[],
        help="whose programs may use the bus themselves; repeatable",
    )
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="IDENTITY=NKEY",
        help="its public key; repeatable",
    )
    parser.add_argument("--format", choices=("nats-conf", "json"), default="nats-conf")


def _add_contracts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, type=Path, help="the folder to write them to")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > PORT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to {PORT_MAX}")
    return int(text)


COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "serve": ("serve an app on this machine: NATS, gateway and runners", _add_serve),
    "provision": ("make the streams and consumers of apps on NATS_URL", _add_provision),
    "describe": ("say what an app declares, as JSON", _add_describe),
    "contracts": ("write what is said on the bus as JSON Schemas and AsyncAPI", _add_contracts),
    "permissions": ("print who may do what on the bus, for nats-server", _add_permissions),
    "status": ("show what is served with the data of this folder", _add_data_dir),
    "doctor": ("look over NATS_URL: what is wrong there, and how to mend it", _add_doctor),
    "dead-letters": ("list, show, redrive or discard work that was given up", add_dead_letters),
    "hooks": ("tell a background hook of past runs again", add_hooks),
    "keys": ("make, list or remove keys for the gateway's callers", add_keys),
    "run": ("serve the sample app of a checkout until Ctrl-C", _add_run),
    "demo": ("run the sample app once, with a background hook, and clean up", _add_demo),
}
