"""`python -m tests.chaos --seed 1 --duration-s 600`: exits with 1 when anything was lost."""

import argparse
import logging
import random
import shutil
import sys
import tempfile
from pathlib import Path

import structlog
import uvloop

from tests.chaos.house import Size
from tests.chaos.report import table
from tests.chaos.story import PAUSE_S, Plan, live_through

DURATION_S = 540


def main() -> None:
    arguments = _arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    folder = Path(tempfile.mkdtemp(prefix="teambus-chaos-"))
    print(f"seed {arguments.seed}, {arguments.duration_s:g} s, in {folder}", flush=True)
    plan = Plan(
        seed=arguments.seed,
        duration_s=arguments.duration_s,
        kills_max=arguments.kills,
        askers=arguments.askers,
        pause_s=arguments.pause_s,
        size=Size(nodes=arguments.nodes),
        locked=arguments.locked,
    )
    rows = uvloop.run(live_through(plan, folder))
    print(table(rows))
    lost = sum(len(row.losses) for row in rows)
    if lost or arguments.keep:
        print(f"\nseed {arguments.seed}: {lost} losses; logs, streams and database are in {folder}")
    else:
        shutil.rmtree(folder)
    sys.exit(1 if lost else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--duration-s", type=float, default=DURATION_S, help="of faults")
    parser.add_argument("--kills", type=int, help="enough once so many processes were killed")
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=1, help="servers of the bus")
    parser.add_argument("--pause-s", type=float, default=PAUSE_S, help="between two faults, mean")
    parser.add_argument("--askers", type=int, default=12, help="clients, one run each at a time")
    parser.add_argument(
        "--locked", action="store_true", help="with TLS, the generated permissions and PostgreSQL"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder, whatever happened")
    return parser.parse_args()


if __name__ == "__main__":
    main()
