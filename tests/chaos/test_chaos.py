"""The short form of `make chaos`: less than a minute of each bus, and nothing may be lost.

The bus of one server is locked: with TLS, the generated permissions and PostgreSQL.
"""

import random
from pathlib import Path

import pytest

from tests.chaos.house import Size
from tests.chaos.report import table
from tests.chaos.story import Plan, live_through

DURATION_S = 45


@pytest.mark.parametrize("nodes", [1, 3])
@pytest.mark.timeout(400)
# A client that is cut off while it connects leaves its socket to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_nothing_is_lost_while_everything_is_killed(tmp_path: Path, nodes: int) -> None:
    seed = random.randrange(2**32)
    plan = Plan(seed, DURATION_S, settle_s=120, size=Size(nodes=nodes), locked=nodes == 1)
    rows = await live_through(plan, tmp_path)
    told = f"seed {seed}, in {tmp_path}\n{table(rows)}"
    print(told)
    assert not [loss for row in rows for loss in row.losses], told
