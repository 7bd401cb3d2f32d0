"""`python -m tests.chaos.mutate`: chaos in each broken build; exits with 1 when one goes unseen."""

import argparse
import logging
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import structlog
import uvloop

from tests.chaos.house import Size
from tests.chaos.mutations import MUTATIONS, Mutation
from tests.chaos.story import Plan, live_through

DURATION_S = 25
SETTLE_S = 25
PAUSE_S = 0.4
TRIES = 3
HANDS = {"TEAM_RUNNER_HANDS": "16"}
"""So many that no run waits for one: the more is in hand at a death, the sooner it is seen."""
SMALL = Size(gateways=2, team_runners=2, hook_runners=2)


def main() -> None:
    arguments = _arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    print(f"seed {arguments.seed}", flush=True)
    chosen = [each for each in MUTATIONS if arguments.only in each.guard]
    unseen = [each for each in chosen if not _is_seen(each, arguments.seed)]
    print(f"\n{len(chosen) - len(unseen)} of {len(chosen)} broken builds were seen")
    sys.exit(1 if unseen else 0)


def _is_seen(mutation: Mutation, seed: int) -> bool:
    """Whether chaos misses the guard within a few tries. A line of the table."""
    began = time.monotonic()
    tries = (_seen(mutation, seed + at) for at in range(TRIES))
    seen = next(filter(None, tries), "")
    told = seen or "NOT SEEN"
    print(f"{mutation.guard:<62}  {told}  ({time.monotonic() - began:.0f} s)", flush=True)
    return bool(seen)


def _seen(mutation: Mutation, seed: int) -> str:
    """The check that found something missing, and how much."""
    folder = Path(tempfile.mkdtemp(prefix="teambus-mutation-"))
    try:
        environment = {**mutation.applied_in(folder / "sources"), **HANDS}
        plan = Plan(
            seed=seed,
            duration_s=DURATION_S,
            settle_s=SETTLE_S,
            pause_s=PAUSE_S,
            size=SMALL,
            aim=mutation.aim,
            environment=environment,
        )
        rows = uvloop.run(live_through(plan, _made(folder / "house")))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    found = [row for row in rows if row.check in mutation.seen_by and row.losses]
    return ", ".join(f"{row.check}: {len(row.losses)}" for row in found)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.mutate", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--only", default="", help="only guards that have this in their name")
    return parser.parse_args()


if __name__ == "__main__":
    main()
