"""Dead letters that are put back, to their own hook only, whatever dies on the way."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from teambus.bus import catalogue, reads, topology
from teambus.bus.bodies import Bodies
from teambus.bus.dead_letters import LetterFilter
from teambus.bus.errors import StreamFull
from teambus.bus.events import SeenOutcome
from teambus.bus.provision import provision
from teambus.bus.publish import Publication, publish
from teambus.bus.redrive import NotRedriven, Redrives
from teambus.bus.topology import DEAD, HOOKS, REDRIVE, TopologySettings
from teambus.contracts import subjects
from teambus.contracts.hook import DeadLetter, RedriveDelivery, delivery_id
from tests.integration.hook_parts import TENANT, Ground, completed, ground

MIB = 1024 * 1024


@pytest.fixture
async def on(tmp_path: Path) -> AsyncIterator[Ground]:
    async with ground(tmp_path) as made:
        yield made


def redrives(on: Ground) -> Redrives:
    return Redrives(on.bus, Bodies(on.bus), source="test")


async def died(on: Ground, run: str = "r1", **acts: list[str]) -> str:
    """A run of which the hook `first` wants to hear nothing yet; the id of its letter."""
    await on.complete(run, **(acts or {"first": ["unmended"]}))
    await on.stands("first", run, "dead")
    assert await on.letter("first", run) is not None
    return delivery_id(TENANT, "first", run)


def buried(id_: str = "default:first:r1", **changes: Any) -> DeadLetter:
    """A letter of which there is no more than this."""
    given: dict[str, Any] = {
        "about": "hook",
        "name": "first",
        "team_id": "desk",
        "run_id": "r1",
        "died_at": 1,
    }
    return DeadLetter(id=id_, tenant=TENANT, reason="x", **(given | changes))


def order(run: str = "r1", generation: int = 1, **content: Any) -> RedriveDelivery:
    return RedriveDelivery(
        delivery_id=delivery_id(TENANT, "first", run),
        tenant=TENANT,
        hook="first",
        event=completed(run, **content),
        generation=generation,
        asked_at=time.time(),
    )


async def refused(on: Ground, id_: str) -> str:
    with pytest.raises(NotRedriven) as why:
        await redrives(on).one(TENANT, id_)
    assert why.value.id == id_
    return why.value.code


async def test_a_redriven_letter_reaches_its_hook_and_no_other(on: Ground) -> None:
    await on.started()
    id_ = await died(on)
    await on.settled("first", "second", "plain")
    on.mend()
    assert await redrives(on).one(TENANT, id_)
    done = await on.stands("first", "r1", "delivered")
    assert (done.attempt, done.failures, done.generation) == (1, [], 1)
    assert await on.letter("first", "r1") is None
    await on.settled("first", "second", "plain")
    assert [line["id"] for line in on.story(hook="first", run="r1")] == [id_, id_]
    assert [line["attempt"] for line in on.story(hook="first", run="r1")] == [1, 1]
    assert len(on.story(hook="second", run="r1")) == len(on.story(hook="plain", run="r1")) == 1


async def test_a_redriven_delivery_retries_times_out_and_dies_like_any_other(on: Ground) -> None:
    await on.started()
    id_ = await died(on, first=["raise", "sleep 9", "raise"])
    assert await redrives(on).one(TENANT, id_)
    await on.stands_in("first", "r1", "dead", 1)
    letter = await on.letter("first", "r1")
    assert letter is not None
    assert (letter.attempts, letter.generation) == (3, 1)
    assert [failure.code for failure in letter.failures] == ["raised", "timeout", "raised"]


async def test_a_killed_hook_runner_loses_no_redrive(on: Ground) -> None:
    runner = await on.started()
    await died(on)
    await redrives(on).ask(order(content='{"first": ["sleep 1.5"]}'), SeenOutcome(None, 0))
    await on.told(2, hook="first")
    await runner.kill()
    await runner.start()
    done = await on.stands("first", "r1", "delivered")
    assert (done.attempt, done.generation) == (1, 1)
    await on.settled("first")


async def test_the_letter_a_redriver_left_behind_when_it_died_goes_with_the_delivery(
    on: Ground,
) -> None:
    await on.started()
    await died(on)
    on.mend()
    await redrives(on).ask(order(content="{}"), await on.events.outcome(TENANT, "r1", "first"))
    await on.stands("first", "r1", "delivered")
    await on.settled("first")
    assert await on.letter("first", "r1") is None


async def test_a_letter_a_redriver_left_behind_is_not_redriven_twice(on: Ground) -> None:
    await on.events.bury(buried(event=completed("r1", content="{}")))
    await redrives(on).ask(order(content="{}"), SeenOutcome(None, 0))
    assert await refused(on, "default:first:r1") == "already_redriven"
    assert await on.letter("first", "r1") is None
    await on.started()
    await on.stands("first", "r1", "delivered")
    await on.settled("first")
    assert len(on.story(hook="first", run="r1")) == 1


async def test_a_redrive_stored_before_its_redriver_died_is_one_with_the_next(on: Ground) -> None:
    """The first died before the outcome said so: its successor cannot know, and asks again."""
    event = completed("r1", content="{}")
    await on.events.bury(buried(event=event))
    await redrives(on).ask(order(content="{}"), SeenOutcome(None, 0))
    assert await reads.remove(on.bus, HOOKS, 1)
    assert await redrives(on).one(TENANT, "default:first:r1")
    assert (await reads.bounds(on.bus, REDRIVE)).last_seq == 1


async def test_the_ordinary_delivery_of_a_redriven_event_is_not_called_any_more(
    on: Ground,
) -> None:
    """Its hook-runner died after the letter, before it told the bus that it is done with it."""
    await on.complete("r1", first=["raise"])
    await on.deliver_once_before("first")
    await on.events.bury(buried(event=completed("r1", content="{}"), attempts=3))
    assert await redrives(on).one(TENANT, "default:first:r1")
    await on.started()
    done = await on.stands("first", "r1", "delivered")
    await on.settled("first")
    assert done.generation == 1
    assert len(on.story(hook="first", run="r1")) == 1


async def test_a_letter_whose_body_is_aside_is_redriven_with_it(on: Ground) -> None:
    await on.started()
    note = "x" * (2 * MIB)
    assert await on.events.complete(
        completed("r1", content='{"first": ["unmended"]}', metadata={"note": note})
    )
    await on.stands("first", "r1", "dead")
    on.mend()
    assert await redrives(on).one(TENANT, "default:first:r1")
    await on.stands("first", "r1", "delivered")


async def test_a_letter_stays_when_its_redrive_cannot_be_stored(on: Ground) -> None:
    await provision(on.bus, on.app, TopologySettings(redrive_bytes_max=512))
    await on.events.bury(buried(event=completed("r1", content="x" * 1024)))
    with pytest.raises(StreamFull):
        await redrives(on).one(TENANT, "default:first:r1")
    assert await on.letter("first", "r1") is not None
    assert await on.outcome("first", "r1") is None


async def test_streams_of_the_version_before_are_brought_up_to_date(on: Ground) -> None:
    """Then the stream of letters kept any number of one delivery."""
    await on.events.bury(buried(event=completed("r1", content="{}")))
    streams = {each["name"]: each for each in topology.streams(TopologySettings())}
    old = {**streams[DEAD], "max_msgs_per_subject": -1, "metadata": {}}
    await reads.call(on.bus, f"$JS.API.STREAM.UPDATE.{DEAD}", msgspec.json.encode(old))
    await reads.call(on.bus, f"$JS.API.STREAM.DELETE.{REDRIVE}", b"")
    await provision(on.bus, on.app, TopologySettings())
    await on.events.bury(buried(event=completed("r1", content="{}"), generation=1))
    listed = await redrives(on).letters.page(TENANT, LetterFilter(), after=0, limit=9)
    assert [letter.generation for letter in listed.letters] == [1]
    assert await redrives(on).one(TENANT, "default:first:r1")


async def test_a_letter_that_somebody_else_has_removed_is_gone(on: Ground) -> None:
    """As its hook-runner does when it has delivered before the redriver came to it."""
    letters = redrives(on).letters
    for id_ in ("first", "second", "last"):
        await on.events.bury(buried(id_, event=completed("r1", content="{}")))
    for id_ in ("last", "first", "second"):
        stored = await letters.find(TENANT, id_)
        assert stored is not None
        assert await letters.remove(stored.seq)
        assert not await letters.remove(stored.seq)


async def test_what_cannot_be_redriven_says_why_and_stays(on: Ground) -> None:
    event = completed("r1", content="{}")
    why = {
        "not_redrivable": buried("run", about="run", name="desk", event=event),
        "hook_gone": buried("gone", name="gone", event=event),
        "not_wanted": buried("unwanted", event=completed("r1", status="ERROR")),
        "event_gone": buried("no event", body="{"),
    }
    for code, letter in why.items():
        assert await on.events.bury(letter)
        assert await refused(on, letter.id) == code
        assert await redrives(on).letters.find(TENANT, letter.id) is not None
    request = buried("request", about="request", name="desk", team_id="desk", body="{")
    assert await on.events.bury(request)
    assert await refused(on, "request") == "not_redrivable"
    left_team = buried("left", team_id="night", event=event)
    assert await on.events.bury(left_team)
    assert await refused(on, "left") == "hook_gone"
    assert not await redrives(on).one(TENANT, "nothing of this id")
    assert not await redrives(on).one("other", "run")


async def test_an_event_that_could_not_be_read_is_redriven_once_it_can(on: Ground) -> None:
    subject = subjects.event(TENANT, "desk", "r1", "completed")
    await publish(on.bus, Publication(subject, b"{", "broken"))
    await on.started()
    letter = await until_letter(on, "default:first:r1")
    assert letter.body == "{"
    assert await refused(on, letter.id) == "event_unreadable"
    mended = msgspec.json.encode(completed("r1", content="{}"))
    await publish(on.bus, Publication(subject, mended, "mended"))
    await on.stands("first", "r1", "delivered")
    assert await redrives(on).one(TENANT, letter.id)
    await on.stands_in("first", "r1", "delivered", 1)


async def until_letter(on: Ground, id_: str) -> DeadLetter:
    letters = redrives(on).letters
    deadline = time.monotonic() + 25
    while (found := await letters.find(TENANT, id_)) is None:
        assert time.monotonic() < deadline, f"no letter {id_}"
    return found.letter


async def test_many_letters_are_redriven_by_what_they_are_of(on: Ground) -> None:
    event = completed("r1", content="{}")
    for n in range(5):
        run = completed(f"r{n}", content="{}")
        await on.events.bury(buried(f"default:first:r{n}", run_id=f"r{n}", event=run, died_at=n))
    await on.events.bury(buried("other", name="second", event=event))
    await on.events.bury(buried("gone", name="gone", event=event))
    again = redrives(on)
    first = LetterFilter(about="hook", name="first", since=1)
    page = await again.many(TENANT, first, after=0, limit=3)
    assert page.redriven == ["default:first:r1", "default:first:r2", "default:first:r3"]
    assert page.next is not None
    rest = await again.many(TENANT, first, after=page.next, limit=3)
    assert (rest.redriven, rest.refused, rest.next) == (["default:first:r4"], [], None)
    everything = await again.many(TENANT, LetterFilter(about="hook"), after=0, limit=9)
    assert sorted(everything.redriven) == ["default:first:r0", "other"]
    assert [(each.id, each.code) for each in everything.refused] == [("gone", "hook_gone")]


async def test_a_sweep_leaves_what_died_after_it_began(on: Ground) -> None:
    """Else a hook that dies at once would be redriven for ever."""
    await on.events.bury(buried(event=completed("r1", content="{}")))
    until_seq = (await reads.bounds(on.bus, DEAD)).last_seq
    await on.events.bury(buried("default:first:r2", event=completed("r2", content="{}")))
    swept = await redrives(on).many(TENANT, LetterFilter(), after=0, limit=9, until=until_seq)
    assert swept.redriven == ["default:first:r1"]


async def test_letters_are_listed_in_pages_and_discarded(on: Ground) -> None:
    event = completed("r1", content="{}")
    for n in range(3):
        await on.events.bury(buried(f"a{n}", event=event, died_at=n))
    await on.events.bury(buried("b", about="run", name="desk", event=event))
    await on.events.bury(buried("c", about="request", name="night", team_id="night", body="{"))
    letters = redrives(on).letters

    async def ids(after: int = 0, limit: int = 10, **wanted: Any) -> list[str]:
        page = await letters.page(TENANT, LetterFilter(**wanted), after=after, limit=limit)
        return [each.id for each in page.letters]

    assert await ids() == ["a0", "a1", "a2", "b", "c"]
    assert await ids(about="run") == ["b"]
    assert await ids(name="first") == ["a0", "a1", "a2"]
    assert await ids(name="of.many>tokens") == []
    assert await ids(team_id="night") == ["c"]
    assert await ids(since=1) == ["a1", "a2", "b", "c"]
    one = await letters.page(TENANT, LetterFilter(), after=0, limit=2)
    assert [each.id for each in one.letters] == ["a0", "a1"]
    assert one.next is not None
    assert await ids(after=one.next) == ["a2", "b", "c"]
    assert await letters.discard(TENANT, "a0")
    assert not await letters.discard(TENANT, "a0")
    assert not await letters.discard("other", "a1")
    assert await ids() == ["a1", "a2", "b", "c"]


async def test_a_letter_that_cannot_be_read_is_listed_not_redriven_and_discarded(
    on: Ground,
) -> None:
    subject = subjects.dead(TENANT, "hook", "first", "x:y")
    await publish(on.bus, Publication(subject, b"{", "broken"))
    again = redrives(on)
    [listed] = (await again.letters.page(TENANT, LetterFilter(), after=0, limit=9)).letters
    assert "cannot be read" in listed.reason
    swept = await again.many(TENANT, LetterFilter(), after=0, limit=9)
    assert [each.code for each in swept.refused] == ["letter_unreadable"]
    assert await again.letters.discard(TENANT, listed.id)


async def test_a_hook_that_nobody_knows_any_more_is_asked_of_the_catalogue(on: Ground) -> None:
    """Not of what a gateway read some time ago."""
    assert set(await redrives(on).hooks()) == {"first", "second", "plain"}
    await catalogue.put(on.bus, msgspec.structs.replace(on.app, hooks=[]))
    assert await redrives(on).hooks() == {}
