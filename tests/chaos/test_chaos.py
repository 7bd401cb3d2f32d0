"""The short form of `make chaos`: three quarters of a minute of it, and nothing may be lost."""

import random
from pathlib import Path

import pytest

from tests.chaos.report import table
from tests.chaos.story import Plan, live_through

DURATION_S = 45


@pytest.mark.timeout(400)
async def test_nothing_is_lost_while_everything_is_killed(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    rows = await live_through(Plan(seed, DURATION_S, settle_s=120), tmp_path)
    told = f"seed {seed}, in {tmp_path}\n{table(rows)}"
    print(told)
    assert not [loss for row in rows for loss in row.losses], told
