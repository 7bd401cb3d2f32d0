"""Saves of many runs at once: gathered into one transaction, each with an answer of its own."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from teambus.app.databases import SessionDb
from teambus.contracts.output import RunStatus
from teambus_team_runner.sessions import (
    RunInAnotherSession,
    SessionNotFound,
    SessionStore,
    StoreFenced,
    StoreUnavailable,
    open_store,
)
from tests.integration.session_runs import (
    QUICK,
    load,
    query,
    run_write,
    stored_run_ids,
)


@pytest.fixture
async def store(db: SessionDb) -> AsyncIterator[SessionStore]:
    opened = await open_store(db, QUICK)
    yield opened
    await opened.close()


async def test_saves_that_meet_are_all_stored(store: SessionStore, db: SessionDb) -> None:
    saves = (store.save(run_write(f"r{n}", n, f"s{n % 7}")) for n in range(1, 51))
    await asyncio.gather(*saves)
    assert sorted(stored_run_ids(db)) == sorted(f"r{n}" for n in range(1, 51))
    assert [run_id for run_id, _ in (await load(store, "s3")).history] == ["r31", "r38", "r45"]


async def test_of_saves_that_meet_only_the_refused_one_fails(
    store: SessionStore, db: SessionDb
) -> None:
    await store.save(run_write("r0", 9, "old"))
    answers = await asyncio.gather(
        store.save(run_write("r1", 1, "a")),
        store.save(run_write("r2", 8, "old")),
        store.save(run_write("r0", 1, "b")),
        store.save(run_write("r3", 1, "c")),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [
        type(None),
        StoreFenced,
        RunInAnotherSession,
        type(None),
    ]
    assert sorted(stored_run_ids(db)) == ["r0", "r1", "r3"]
    sessions = query(db, "SELECT session_id, fence FROM teambus_sessions ORDER BY session_id")
    assert sessions == [("a", 1), ("c", 1), ("old", 9)]


async def test_of_saves_that_meet_one_the_database_cannot_take_fails_alone(
    store: SessionStore, db: SessionDb
) -> None:
    answers = await asyncio.gather(
        store.save(run_write("r1", 1, "a")),
        store.save(run_write("r2", 1, "b", created_at=None)),
        store.save(run_write("r3", 1, "c")),
        return_exceptions=True,
    )
    assert answers[0] is answers[2] is None
    assert isinstance(answers[1], StoreUnavailable)
    assert answers[1].reason in (
        "it failed (SQLITE_CONSTRAINT_NOTNULL)",
        "it failed (NotNullViolation)",
    )
    assert sorted(stored_run_ids(db)) == ["r1", "r3"]


async def test_of_two_openings_that_meet_the_older_is_fenced(
    store: SessionStore, db: SessionDb
) -> None:
    newer, older = store.save(run_write("r2", 2)), store.save(run_write("r1", 1))
    answers = await asyncio.gather(newer, older, return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), StoreFenced]
    assert stored_run_ids(db) == ["r2"]


async def test_a_refused_save_fences_nobody(store: SessionStore) -> None:
    await store.save(run_write("r1", 1, "elsewhere"))
    answers = await asyncio.gather(
        store.save(run_write("r1", 5, "s1")),
        store.save(run_write("r2", 4, "s1")),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [RunInAnotherSession, type(None)]


@pytest.mark.parametrize("turns", [1, 2, 5, 10])
async def test_a_save_that_is_cancelled_harms_no_other(
    store: SessionStore, db: SessionDb, turns: int
) -> None:
    saves = [asyncio.create_task(store.save(run_write(f"r{n}", 1, f"s{n}"))) for n in range(6)]
    for _ in range(turns):
        await asyncio.sleep(0)
    saves[0].cancel()
    saves[3].cancel()
    answers = await asyncio.gather(*saves, return_exceptions=True)
    assert [n for n, answer in enumerate(answers) if answer is not None] == [0, 3]
    assert {"r1", "r2", "r4", "r5"} <= set(stored_run_ids(db))
    await store.save(run_write("r3", 1, "s3"))


async def test_closing_finishes_what_waits_and_refuses_what_comes_later(
    db: SessionDb,
) -> None:
    store = await open_store(db, QUICK)
    saves = [asyncio.create_task(store.save(run_write(f"r{n}", 1, f"s{n}"))) for n in range(80)]
    await asyncio.sleep(0)
    await store.close()
    assert len(stored_run_ids(db)) == 80
    await asyncio.gather(*saves)
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.save(run_write("late", 1))
    await store.close()


async def test_a_run_that_never_opened_its_session_leaves_only_itself_there(
    store: SessionStore, db: SessionDb
) -> None:
    await store.save(run_write("r1", 4, state={"tea": "green"}, user_id="ann"))
    before = query(db, "SELECT * FROM teambus_sessions")
    beside = run_write("r2", 3, state={"tea": "none"}, opened=False, status=RunStatus.CANCELLED)
    answers = await asyncio.gather(
        store.save(beside), store.save(run_write("r3", 1, "s2")), return_exceptions=True
    )
    await store.save(beside)
    assert list(answers) == [None, None]
    assert query(db, "SELECT * FROM teambus_sessions WHERE session_id = 's1'") == before
    assert sorted(stored_run_ids(db)) == ["r1", "r2", "r3"]
    await store.save(run_write("r4", 5))
    session = await store.session("default", "s1", runs_max=9)
    assert session is not None
    assert [run.run_id for run in session.runs] == ["r2", "r1", "r4"]


async def test_a_run_that_never_opened_its_session_is_kept_without_one(
    store: SessionStore, db: SessionDb
) -> None:
    await store.save(run_write("r1", 3, opened=False))
    assert stored_run_ids(db) == ["r1"]
    assert await store.session("default", "s1", runs_max=9) is None


async def test_a_run_that_never_opened_another_users_session_is_not_kept_there(
    store: SessionStore, db: SessionDb
) -> None:
    await store.save(run_write("r1", 4, user_id="ann"))
    answers = await asyncio.gather(
        store.save(run_write("r2", 4, opened=False, user_id="bob")),
        store.save(run_write("r3", 1, "s2")),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [SessionNotFound, type(None)]
    assert sorted(stored_run_ids(db)) == ["r1", "r3"]
