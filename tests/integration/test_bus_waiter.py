"""Waiting for the end of a run: heard as it comes, and found when it was not heard."""

import asyncio
from pathlib import Path

from nats.aio.msg import Msg

from teambus.bus.bodies import Bodies
from teambus.bus.waiter import HEARD_MAX, Listener, RunEnd, RunKey, Waiter
from teambus.contracts import subjects
from tests.integration.bus_parts import Here, here, until
from tests.integration.frame_parts import Speaker

RUN = RunKey("default", "desk", "r")
LONG_S = 60
SOON_S = 30


def waiter(place: Here) -> Waiter:
    return Waiter(place.bus, Bodies(place.bus))


async def end_heard_by(listener: Listener, *, look_s: float = LONG_S) -> str:
    """The session of the run that ended."""
    async with asyncio.timeout(SOON_S):
        end = await listener.ended(None, wait_s=LONG_S, look_s=look_s)
    assert isinstance(end, RunEnd)
    return end.session_id


async def test_an_end_is_heard_as_it_comes(tmp_path: Path) -> None:
    async with here(tmp_path) as place, waiter(place).listening(RUN) as listener:
        await Speaker(place.bus, "r", session_id="mine").end()
        assert await end_heard_by(listener) == "mine"


async def test_an_end_that_was_not_heard_is_looked_up(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        await Speaker(place.bus, "r", session_id="mine").end()
        async with waiter(place).listening(RUN) as listener:
            assert await end_heard_by(listener, look_s=0.2) == "mine"


async def test_who_is_woken_looks_however_much_was_heard(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        await Speaker(place.bus, "r", session_id="mine").end()
        async with waiter(place).listening(RUN) as listener:
            of_another_team = Msg(place.bus.client, subjects.live("default", "r", "completed"))
            for _ in range(HEARD_MAX + 1):
                listener.on_message(of_another_team)
            listener.wake()
            assert await end_heard_by(listener) == "mine"


async def test_an_end_is_heard_after_the_connection_was_lost(tmp_path: Path) -> None:
    async with here(tmp_path) as place, place.linked() as (link, bus):
        reconnected_at = bus.reconnected_at
        async with Waiter(bus, Bodies(bus)).listening(RUN) as listener:
            await bus.barrier()
            link.cut()
            link.mend()

            async def is_back() -> bool:
                return bus.reconnected_at > reconnected_at and bus.connected

            await until(is_back, otherwise="it never came back")
            # Being back makes it look; what comes after is only heard.
            assert await listener.ended(None, wait_s=0.5, look_s=LONG_S) is None
            await Speaker(place.bus, "r", session_id="mine").end()
            assert await end_heard_by(listener) == "mine"


async def test_who_has_left_keeps_nothing_and_hears_nothing(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        waiting, client = waiter(place), place.bus.client
        kept = len(client._subs), len(client._listeners)
        async with waiting.listening(RUN):
            assert (len(client._subs), len(client._listeners)) == (kept[0] + 1, kept[1] + 1)
        assert (len(client._subs), len(client._listeners), waiting.waiting) == (*kept, 0)
        heard = client.stats["in_msgs"]
        await place.bus.barrier()
        await client.publish(subjects.live("default", "r", "completed"), b"")
        await place.bus.barrier()
        assert client.stats["in_msgs"] == heard
