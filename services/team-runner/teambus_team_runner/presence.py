"""Saying that a runner is there: to the janitor, which gives up what nobody serves, and to people.

A busy runner pulls nothing, so the queue alone does not tell it from one that is gone.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from teambus.bus.api import Question, Reply, answering
from teambus.bus.connection import Bus
from teambus.contracts import subjects
from teambus.contracts.pool_api import RunnerFound
from teambus.runtime.hands import Hands

QUEUE = "team-runner"
AT_ONCE_MAX = 16


@asynccontextmanager
async def present(bus: Bus, app_id: str, hands: Hands) -> AsyncIterator[None]:
    """Answer for the pool of an app while the block runs."""

    async def answer(_: Question) -> Reply:
        found = RunnerFound(runner=bus.settings.name, hands=hands.count, busy=hands.busy)
        return Reply(msgspec.json.encode(found))

    subject = subjects.api("*", f"pool.{app_id}")
    async with answering(bus, subject, answer, queue=QUEUE, at_once_max=AT_ONCE_MAX):
        yield
