"""Hands: never more than there are, in the order they were asked for, and sometimes all for one."""

import asyncio

import pytest

from teambus.runtime.hands import Hands

NEVER = asyncio.Event


class Work:
    """Work that takes until it is told to end."""

    def __init__(self) -> None:
        self.end = asyncio.Event()
        self.cancelled = False

    async def __call__(self) -> None:
        try:
            await self.end.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def settle() -> None:
    """Let everything that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


class Line:
    """Work that waits for hands before anybody else."""

    def __init__(self, hands: Hands, *waiting: Work) -> None:
        self.hands = hands
        self.waiting = list(waiting)
        hands.first = self.serve

    def serve(self) -> None:
        while self.waiting and self.hands.spare:
            self.hands.take(self.waiting.pop(0)())


def busy_hands(count: int) -> tuple[Hands, list[Work]]:
    hands, works = Hands(count, patience_s=5), [Work() for _ in range(count)]
    for work in works:
        hands.take(work())
    return hands, works


async def test_free_waits_for_a_hand() -> None:
    hands, works = busy_hands(2)
    waiting = asyncio.create_task(hands.free(NEVER()))
    await settle()
    assert not waiting.done()
    works[0].end.set()
    assert await waiting == 1
    works[1].end.set()


async def test_free_waits_no_longer_than_it_is_told() -> None:
    hands, works = busy_hands(1)
    assert await hands.free(NEVER(), wait_s=0.01) == 0
    works[0].end.set()


async def test_what_is_served_first_is_served_before_new_work_and_no_more_than_the_hands() -> None:
    hands, works = busy_hands(2)
    waiting = [Work() for _ in range(3)]
    line = Line(hands, *waiting)
    new_work = asyncio.create_task(hands.free(NEVER()))
    for work in (*works, *waiting[:1]):
        work.end.set()
        await settle()
        assert hands.busy == 2
    assert line.waiting == []
    assert not new_work.done()
    waiting[1].end.set()
    assert await new_work == 1
    waiting[2].end.set()


async def test_hands_know_whose_work_they_hold() -> None:
    hands, work = Hands(4, patience_s=5), Work()
    for owner in ("a", "a", "b"):
        hands.take(work(), owner=owner)
    assert [hands.held_for(owner) for owner in "abc"] == [2, 1, 0]
    assert hands.owners == {"a", "b"}
    work.end.set()
    await settle()
    assert [hands.held_for(owner) for owner in "abc"] == [0, 0, 0]
    assert hands.owners == set()


async def test_told_to_stop_nobody_gets_a_hand() -> None:
    hands, works = busy_hands(1)
    stop = asyncio.Event()
    waiting = asyncio.create_task(hands.free(stop))
    await settle()
    stop.set()
    assert await waiting == 0
    works[0].end.set()


async def test_work_that_wants_to_be_alone_waits_for_the_others_and_keeps_them_out() -> None:
    hands, works = busy_hands(2)
    entered, leave = asyncio.Event(), asyncio.Event()

    async def alone() -> None:
        async with hands.alone(wait_s=10):
            entered.set()
            await leave.wait()

    works[0].end.set()
    await settle()
    hands.take(alone())
    await settle()
    assert not entered.is_set()
    assert hands.spare == 0
    works[1].end.set()
    await settle()
    assert entered.is_set()
    line = Line(hands, works[1])
    line.serve()
    await settle()
    assert line.waiting
    leave.set()
    await settle()
    assert not line.waiting


async def test_two_that_want_to_be_alone_take_turns() -> None:
    hands = Hands(4, patience_s=5)
    inside = most = 0

    async def alone() -> None:
        nonlocal inside, most
        async with hands.alone(wait_s=10):
            inside += 1
            most = max(most, inside)
            await settle()
            inside -= 1

    for _ in range(3):
        hands.take(alone())
    async with hands:
        pass
    assert (most, hands.busy) == (1, 0)


async def test_waiting_to_be_alone_has_a_limit() -> None:
    hands, works = busy_hands(1)
    async with hands.alone(wait_s=0.01):
        assert hands.busy == 1
    works[0].end.set()


async def test_leaving_waits_and_then_lets_go() -> None:
    patient, impatient = Work(), Work()
    async with Hands(2, patience_s=0.05) as hands:
        hands.take(patient())
        hands.take(impatient())
        patient.end.set()
    assert (patient.cancelled, impatient.cancelled) == (False, True)


async def test_work_that_fails_frees_its_hand(capsys: pytest.CaptureFixture[str]) -> None:
    async def fail() -> None:
        raise ValueError("no")

    hands = Hands(1, patience_s=1)
    hands.take(fail())
    assert await hands.free(NEVER()) == 1
    assert "could not settle" in "".join(capsys.readouterr())


async def test_what_is_in_hand_is_let_go_at_once_when_there_is_no_patience_left() -> None:
    hands, work = Hands(1, patience_s=3600), Work()

    async def end() -> None:
        async with hands:
            hands.take(work())

    ending = asyncio.create_task(end())
    await settle()
    assert not ending.done()
    hands.hurry()
    async with asyncio.timeout(30):
        await ending
    assert work.cancelled
