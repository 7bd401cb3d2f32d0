"""Requests that nobody serves end as ERROR, once, and no other request is ever touched."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from teambus.app.describe import describe
from teambus.bus import topology
from teambus.bus.bodies import Bodies
from teambus.bus.journal import Journal, read_tail
from teambus.bus.provision import provision
from teambus.contracts import subjects
from teambus.contracts.journal import AttemptStarted, ModelAnswer, ModelAnswered, RunEnded
from teambus.contracts.output import RunStatus, TeamRunOutput
from teambus.contracts.run import RunCompleted, RunRequest, request_digest
from teambus.contracts.session import SessionClaim
from teambus_team_runner.ending import STORE_UNAVAILABLE, UNSERVED
from tests.integration.janitor_parts import (
    PATIENT_S,
    UNSERVED_S,
    Mortal,
    another,
    claimed,
    dying,
    ends,
    given_up,
    janitor,
    queued,
    said,
    swept,
    times,
)
from tests.integration.run_parts import ACK_WAIT_S, DESK, NIGHT, POET, Runs, runs_in, until

NOBODY = "nobody"
ONE_ANSWER = {"match": "", "reply": "Done."}


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Runs]:
    async with runs_in(tmp_path) as made:
        yield made


async def begun(runs: Runs, run_id: str, seq: int, *records: Any, team: str = DESK) -> None:
    """An entry in the run's journal by a runner that took it."""
    subject = subjects.journal("default", run_id)
    journal = Journal(
        runs.bus, Bodies(runs.bus), subject, run_id=run_id, tail=await read_tail(runs.bus, subject)
    )
    request = RunRequest(run_id=run_id, input=f"question {run_id}")
    journal.add(
        AttemptStarted(
            runner="gone",
            request_seq=seq,
            team_id=team,
            request_digest=request_digest(request),
            at=time.time(),
        )
    )
    for record in records:
        journal.add(record)
    await journal.settled()
    await journal.close()


async def test_a_request_for_a_team_nobody_knows_ends_as_error_and_dead_letter(runs: Runs) -> None:
    await runs.submit("r-1", team=NOBODY, session_id="s-1", user_id="ann", metadata={"m": 1})
    end = await given_up(runs, await janitor(runs), "r-1", team=NOBODY)
    assert (end.code, end.output.status, end.stored) == (UNSERVED, RunStatus.ERROR, False)
    assert (end.session_id, end.output.user_id, end.output.metadata) == ("s-1", "ann", {"m": 1})
    assert "nobody has served 'nobody'" in str(end.output.content)
    [letter] = await runs.letters(NOBODY)
    assert (letter.about, letter.run_id, letter.event) == ("run", "r-1", end)
    assert msgspec.json.decode(letter.body or "", type=RunRequest).input == "question r-1"
    assert await queued(runs) == 0
    assert await runs.is_free("s-1")


async def test_it_is_left_alone_until_its_time_and_seen_meanwhile(runs: Runs) -> None:
    for number in range(3):
        await runs.submit(f"r-{number}", team=NOBODY)
    patient = await janitor(runs, unserved_s=PATIENT_S)
    with said() as entries:
        await swept(patient, 2 * UNSERVED_S)
    assert await queued(runs) == 3
    count, age_s = patient.unserved.figures()
    assert count == 3
    assert age_s >= UNSERVED_S
    assert times(entries, "nobody serves these requests") == 1


async def test_a_young_request_waits_its_own_time_though_its_team_is_long_unserved(
    runs: Runs,
) -> None:
    await runs.submit("old", team=NOBODY)
    sweeper = await janitor(runs, unserved_s=2.0)
    await given_up(runs, sweeper, "old", team=NOBODY)
    asked_at = time.time()
    await runs.submit("old-2", team=NOBODY)
    await given_up(runs, sweeper, "old-2", team=NOBODY)
    assert time.time() - asked_at >= 2.0


async def test_a_pool_without_runners_is_unserved_and_one_with_runners_is_not(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER])
    await runs.submit("r-1", team=NIGHT)
    await runs.submit("r-2", team=POET)
    sweeper = await janitor(runs)
    assert (await given_up(runs, sweeper, "r-1", team=NIGHT)).code == UNSERVED
    poem = await given_up(runs, sweeper, "r-2", team=POET)
    assert poem.output.agent_id == POET
    async with runs.runner():
        await swept(sweeper, 2 * UNSERVED_S)
        await runs.submit("r-3", team=NIGHT)
        assert (await runs.end("r-3", team=NIGHT)).output.status == "COMPLETED"
    assert sweeper.unserved.seen == []


async def test_a_long_queue_and_long_runs_are_load_and_not_unserved(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER | {"match": "q-0", "hold": "long"}, ONE_ANSWER])
    async with runs.runner(hands=1):
        for number in range(6):
            await runs.submit(f"q-{number}")
        await runs.model.wait_for_calls(1, timeout_s=20)
        await swept(await janitor(runs), 5 * UNSERVED_S)
        assert await queued(runs) == 6
        await runs.model.release("long")
        for number in range(6):
            assert (await runs.end(f"q-{number}")).output.status == "COMPLETED"


async def test_runs_waiting_for_their_session_are_not_unserved(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER | {"match": "q-0", "hold": "long"}, ONE_ANSWER])
    async with runs.runner():
        for number in range(3):
            await runs.submit(f"q-{number}", session_id="s-busy")
            await runs.model.wait_for_calls(1, timeout_s=20)
        await runs.waiting("s-busy", 2)
        await swept(await janitor(runs), 5 * UNSERVED_S)
        assert not await runs.is_free("s-busy")
        await runs.model.release("long")
        for number in range(3):
            assert (await runs.end(f"q-{number}")).output.status == "COMPLETED"


async def test_a_runner_that_came_back_in_time_saves_its_queue(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER])
    sweeper = await janitor(runs, unserved_s=PATIENT_S)
    await runs.submit("r-1")
    await sweeper.sweep()
    assert sweeper.unserved.absences.missing_for("pool_news", 0)
    async with runs.runner():
        await sweeper.sweep()
        assert not sweeper.unserved.absences.missing_for("pool_news", 0)
        assert (await runs.end("r-1")).output.status == "COMPLETED"


async def test_an_old_request_is_safe_when_its_runners_are_missed_for_the_first_time(
    runs: Runs,
) -> None:
    await runs.submit("r-1")
    await asyncio.sleep(UNSERVED_S + 0.1)
    await (await janitor(runs)).sweep()
    assert await queued(runs) == 1


async def test_a_run_somebody_worked_on_lately_is_left_alone(runs: Runs) -> None:
    seq = await runs.submit("r-1")
    await begun(runs, "r-1", seq)
    [message] = await runs.stored(topology.REQUESTS, ">")
    patient = await janitor(runs, unserved_s=PATIENT_S)
    assert not await patient.unserved.giving_up.give_up(message)
    assert (await queued(runs), await ends(runs)) == (1, 0)
    hasty = await another(runs, patient, unserved_s=0.0)
    assert await hasty.unserved.giving_up.give_up(message)
    assert (await runs.end("r-1")).code == UNSERVED


async def test_a_run_in_hand_of_a_team_that_is_gone_meanwhile_is_left_to_its_runner(
    runs: Runs,
) -> None:
    await runs.model.rules([ONE_ANSWER | {"hold": "long"}])
    app = describe(runs.app)
    async with runs.runner():
        await runs.submit("r-1")
        await runs.model.wait_for_calls(1, timeout_s=20)
        without = msgspec.structs.replace(app, teams=[t for t in app.teams if t.id != DESK])
        await provision(runs.bus, without, topology.TopologySettings(ack_wait_s=ACK_WAIT_S))
        hasty = await janitor(runs, unserved_s=0.0)
        await swept(hasty, 1)
        assert [each.absent for each in hasty.unserved.seen] == ["desk.std"]
        assert (await queued(runs), await ends(runs)) == (1, 0)
        await runs.model.release("long")
        assert (await runs.end("r-1")).output.status == "COMPLETED"


async def test_a_runner_that_takes_it_first_keeps_it(runs: Runs) -> None:
    """As for a janitor that was stopped after it looked, and wakes."""
    seq = await runs.submit("r-1")
    sweeper = await janitor(runs)
    giving_up = sweeper.unserved.giving_up

    class TakenMeanwhile(Mortal):
        def __getattr__(self, name: str) -> Any:
            async def read(*args: Any) -> Any:
                await begun(runs, "r-1", seq)
                return await self._real.read(*args)

            return read

    taken = TakenMeanwhile(giving_up.sessions, "", after=False)
    object.__setattr__(giving_up, "sessions", taken)
    await swept(sweeper, 2 * UNSERVED_S)
    past = await runs.past("r-1")
    assert past.latest is not None
    assert (past.ended, past.latest.runner) == (None, "gone")
    assert (await queued(runs), await ends(runs), await runs.letters(DESK)) == (1, 0, [])


@pytest.mark.parametrize(
    ("part", "call", "after"),
    [
        ("sessions", "read", False),
        ("events", "bury", False),
        ("events", "bury", True),
        ("events", "complete", False),
        ("events", "complete", True),
        ("line", "close", True),
        ("requests", "remove", False),
        ("requests", "remove", True),
    ],
)
async def test_whoever_comes_after_a_janitor_that_died_makes_the_same_of_it(
    runs: Runs, part: str, call: str, *, after: bool
) -> None:
    seq = await runs.submit("r-1", team=NOBODY, session_id="s-1")
    first = await janitor(runs)
    await claimed(runs, first, "s-1", SessionClaim(run_id="r-1", team_id=NOBODY, request_seq=seq))
    dying(first, part, call, after=after)
    with said() as entries:
        await until(lambda: _has_died(first, entries), 20, "it never came so far")
    second = await another(runs, first)
    await until(lambda: _is_emptied(runs, second), 20, "the request is left")
    end = await runs.end("r-1", team=NOBODY)
    [letter] = await runs.letters(NOBODY)
    assert (end.code, letter.event, await ends(runs)) == (UNSERVED, end, 1)
    assert await runs.is_free("s-1")


async def _has_died(first: Any, entries: Any) -> bool:
    await first.sweep()
    return times(entries, "the janitor failed") > 0


async def _is_emptied(runs: Runs, second: Any) -> bool:
    await second.sweep()
    return await queued(runs) == 0


async def test_a_runner_that_comes_after_a_janitor_that_died_makes_the_same_of_it(
    runs: Runs,
) -> None:
    await runs.submit("r-1", session_id="s-1")
    first = await janitor(runs)
    dying(first, "events", "bury", after=False)
    with said() as entries:
        await until(lambda: _has_died(first, entries), 20, "it never came so far")
    async with runs.runner():
        end = await runs.end("r-1")
        await runs.drained()
    assert end.code == UNSERVED
    [letter] = await runs.letters(DESK)
    assert letter.event == end
    assert await runs.model.calls() == []


async def test_a_new_janitor_goes_on_counting_where_the_last_one_stopped(runs: Runs) -> None:
    await runs.submit("r-1", team=NOBODY)
    first = await janitor(runs, unserved_s=PATIENT_S)
    await first.sweep()
    await asyncio.sleep(1.1)
    second = await another(runs, first, unserved_s=1.0)
    await second.sweep()
    assert (await runs.end("r-1", team=NOBODY)).code == UNSERVED


async def test_without_the_lease_nothing_is_given_up(runs: Runs) -> None:
    await runs.submit("r-1", team=NOBODY)
    former = await janitor(runs)
    await former.candidacy.resign()
    await swept(former, 2 * UNSERVED_S)
    assert await queued(runs) == 1


async def test_what_was_paid_for_and_decided_is_in_the_dead_letter(runs: Runs) -> None:
    await runs.submit("r-1", session_id="r-1")
    output = TeamRunOutput(
        run_id="r-1",
        team_id=DESK,
        session_id="r-1",
        status=RunStatus.COMPLETED,
        created_at=1,
        content_type="str",
        member_responses=[],
        content="what was paid for",
    )
    decided = RunCompleted(
        event_id="default:desk:r-1:completed",
        tenant="default",
        team_id=DESK,
        run_id="r-1",
        session_id="r-1",
        output=output,
        completed_at=time.time(),
    )
    subject = subjects.journal("default", "r-1")
    journal = Journal(
        runs.bus, Bodies(runs.bus), subject, run_id="r-1", tail=await read_tail(runs.bus, subject)
    )
    await journal.append(RunEnded(completed=decided, fence=1))
    await journal.close()
    end = await given_up(runs, await janitor(runs), "r-1", team=DESK)
    assert (end.code, end.stored, end.output.status) == (STORE_UNAVAILABLE, False, RunStatus.ERROR)
    [letter] = await runs.letters(DESK)
    assert letter.event is not None
    assert letter.event.output.content == "what was paid for"


async def test_a_run_that_was_begun_and_left_ends_once_for_all_its_requests(runs: Runs) -> None:
    answered = ModelAnswered(path="leader/0", digest="d", answer=ModelAnswer(content="paid"))
    first = await runs.submit("r-1")
    await begun(runs, "r-1", first, answered)
    await runs.submit("r-1")
    await runs.submit("r-1", input="another question")
    sweeper = await janitor(runs)
    end = await given_up(runs, sweeper, "r-1", team=DESK)
    assert end.code == UNSERVED
    await until(lambda: _is_emptied(runs, sweeper), 20, "a repeat is left")
    assert len(await runs.letters(DESK)) == 1


async def test_a_cancelled_run_that_nobody_serves_ends_as_cancelled(runs: Runs) -> None:
    await runs.submit("r-1", team=NOBODY)
    await runs.cancel("r-1", team=NOBODY, reason="not wanted")
    end = await given_up(runs, await janitor(runs), "r-1", team=NOBODY)
    output = end.output
    assert (output.status, output.content, end.code) == ("CANCELLED", "not wanted", None)
    assert output.cancellation_stage == "PENDING"
    await runs.drained()
    assert await runs.letters(NOBODY) == []


async def test_what_cannot_be_read_becomes_a_dead_letter_too(runs: Runs) -> None:
    await runs.put(b"{", team=NOBODY)
    await runs.put(b"{", team=NOBODY, **{"Teambus-Run-Id": "r-named"})
    sweeper = await janitor(runs)
    end = await given_up(runs, sweeper, "r-named", team=NOBODY)
    assert end.code == "malformed_request"
    [letter] = await runs.letters(NOBODY)
    assert (letter.about, letter.body) == ("request", "{")
    assert await queued(runs) == 0


async def test_no_more_are_given_up_in_one_sweep_than_allowed(runs: Runs) -> None:
    for number in range(7):
        await runs.submit(f"r-{number}", team=NOBODY)
    await runs.submit("other", team="nobody-else")
    sweeper = await janitor(runs, janitor_acts_max=5)
    await sweeper.sweep()
    await asyncio.sleep(UNSERVED_S + 0.1)
    await sweeper.sweep()
    assert await queued(runs) == 3
    await sweeper.sweep()
    assert await queued(runs) == 0
