"""The options of the commands that look after deliveries: dead letters and replays."""

import argparse
import re
import time
from datetime import datetime

from teambus.contracts.ids import ID_RULE, is_id

PAGE = 100
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}
AGO = re.compile(r"(\d+(?:\.\d+)?)([smhd])\Z")
SINCE = "an ISO 8601 time, local unless it says Z or +hh:mm, or an age: 90s, 30m, 2h, 3d"


def add_dead_letters(parser: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
    listing = _act(acts, "list", "show which letters there are, oldest first")
    listing.add_argument("--about", choices=("hook", "run", "request"), help="what was given up")
    _add_filter(listing)
    listing.add_argument("--limit", type=_count, default=PAGE, help=f"default: {PAGE}")
    listing.add_argument("--after", type=int, default=0, help="go on after an earlier list")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    _act(acts, "show", "print one letter with the event it carries, as JSON").add_argument("id")
    redrive = _act(acts, "redrive", "have events delivered again to the hooks that gave them up")
    redrive.add_argument("ids", nargs="*", metavar="ID", help="which; else all that fit")
    _add_filter(redrive)
    redrive.add_argument("--all", action="store_true", help="needed where nothing says which")
    discard = _act(acts, "discard", "remove letters for good")
    discard.add_argument("ids", nargs="+", metavar="ID")


def add_hooks(parser: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
    replay = _act(acts, "replay", "tell one hook again of the runs that ended in some time")
    replay.add_argument("name", help="the hook")
    replay.add_argument("--since", type=moment, required=True, help=f"from then on: {SINCE}")
    replay.add_argument("--until", type=moment, help="and before then; default: now")
    replay.add_argument("--team", help="only runs of this team or agent")
    replay.add_argument("--dry-run", action="store_true", help="only say how many runs")
    replay.add_argument("--id", type=_id, help="go on with the replay that was given this id")
    replay.add_argument(
        "--rate-max", type=_rate, default=50, help="runs asked for in a second; default: 50"
    )
    replay.add_argument(
        "--pending-max",
        type=_count,
        default=1000,
        help="wait while so many are asked for and not delivered; default: 1000",
    )


def moment(text: str) -> float:
    """Seconds since 1970."""
    if ago := AGO.match(text):
        return time.time() - float(ago[1]) * UNITS_S[ago[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write {SINCE}") from error


def _act(
    acts: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, what: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = acts.add_parser(name, help=what, description=what)
    parser.add_argument(
        "--data-dir", help="of `teambus serve`, to find its bus; default: .teambus; or set NATS_URL"
    )
    parser.add_argument("--tenant", help="whose work; default: default (TEAMBUS_TENANT)")
    return parser


def _add_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", help="letters of this hook, or of this team's runs")
    parser.add_argument("--team", help="letters of runs of this team or agent")
    parser.add_argument("--since", type=moment, help=f"died then or later: {SINCE}")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0
    if not 0 < rate < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return rate


def _id(text: str) -> str:
    if not is_id(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no id: {ID_RULE}")
    return text
