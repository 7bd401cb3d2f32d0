"""The options of the command that makes keys for the gateway's callers."""

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path

from teambus.cli.operating import AGO, UNITS_S
from teambus.contracts.ids import DEFAULT_TENANT


def add_keys(parser: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
    new = acts.add_parser("new", help="make a key, and show it once")
    new.add_argument("id", help="what it is called in the file")
    new.add_argument(
        "--scope",
        dest="scopes",
        action="append",
        required=True,
        help="what it is good for, as teams:run, teams:<id>:run or agent_os:admin; may be repeated",
    )
    new.add_argument("--tenant", default=DEFAULT_TENANT, help="whose; default: default")
    new.add_argument("--user", help="the user it acts as")
    new.add_argument("--expires", type=_until, help="after 90d or 12h, or at an ISO 8601 time")
    new.add_argument("--file", type=Path, help="add its hash to this file; default: print it")
    listing = acts.add_parser("list", help="show whose keys there are")
    listing.add_argument("--file", type=Path, required=True)
    remove = acts.add_parser("remove", help="take a key away")
    remove.add_argument("id")
    remove.add_argument("--file", type=Path, required=True)


def _until(text: str) -> datetime:
    try:
        if ago := AGO.match(text):
            return datetime.fromtimestamp(time.time() + float(ago[1]) * UNITS_S[ago[2]], UTC)
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        says = f"{text!r} is no time; write an age as 90d, or an ISO 8601 time"
        raise argparse.ArgumentTypeError(says) from error
