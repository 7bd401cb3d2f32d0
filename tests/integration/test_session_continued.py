"""Stored runs that go on with others: what they took over is the others', and who stands now."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from teambus.app.databases import AsyncSqliteDb
from teambus.contracts.output import RunStatus, TeamRunOutput
from teambus.contracts.sessions_api import ForkSession, GetPreviews, GetRuns, GetSession
from teambus_team_runner.sessions import (
    RunWrite,
    SessionStore,
    StoreFenced,
    StoreSettings,
    open_store,
)
from tests.integration.session_questions import team_run, told
from tests.integration.session_runs import connections_end, db_in, load, query, run_write

PATIENT = StoreSettings(store_busy_timeout_s=10, store_timeout_s=20)


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[AsyncSqliteDb]:
    yield db_in(tmp_path)
    await connections_end()


@pytest.fixture
async def store(db: AsyncSqliteDb) -> AsyncIterator[SessionStore]:
    opened = await open_store(db, PATIENT)
    yield opened
    await opened.close()


def going_on(run_id: str, fence: int, before: RunWrite, *, replaces: str | None = None) -> RunWrite:
    """A run that took over the members' runs of another."""
    write = run_write(
        run_id,
        fence,
        member_responses=before.output.member_responses,
        forked_from_run_id=before.output.run_id,
        regenerated_from=replaces,
    )
    return replace(write, replaces=replaces)


async def test_a_member_that_was_taken_over_is_counted_and_listed_once(store: SessionStore) -> None:
    first = team_run("r1", 1)
    await store.save(first)
    once = (await told(store, GetSession(session_id="s1"))).session.metrics
    await store.save(going_on("r2", 2, first))

    twice = (await told(store, GetSession(session_id="s1"))).session.metrics
    previews = (await told(store, GetPreviews(session_id="s1"))).runs
    [with_member] = (await told(store, GetRuns(session_id="s1", run_id="r1-member"))).runs

    assert twice == once
    assert [each.run_id for each in previews] == ["r1-member", "r1", "r2"]
    assert msgspec.json.decode(with_member)["run_id"] == "r1"


async def test_in_a_fork_of_the_session_a_run_names_the_copy_it_goes_on_with(
    store: SessionStore,
) -> None:
    first = team_run("r1", 1)
    await store.save(first)
    await store.save(going_on("r2", 2, first, replaces="r1"))
    await told(store, ForkSession(session_id="s1", new_session_id="f1"))

    stored = (await told(store, GetRuns(session_id="f1"))).runs
    before, after = (msgspec.json.decode(each, type=TeamRunOutput) for each in stored)

    assert after.forked_from_run_id == after.regenerated_from == before.run_id != "r1"
    assert [each.parent_run_id for each in after.member_responses] == [before.run_id]
    assert [each.run_id for each in after.member_responses] == [
        each.run_id for each in before.member_responses
    ]


async def test_a_run_that_is_replaced_says_so_and_is_kept(
    store: SessionStore, db: AsyncSqliteDb
) -> None:
    first = team_run("r1", 1)
    await store.save(first)
    again = going_on("r2", 2, first, replaces="r1")
    await store.save(again)
    await store.save(again)

    kept = await store.run("default", "s1", "r1")
    assert kept == msgspec.structs.replace(first.output, status=RunStatus.REGENERATED)
    assert query(db, "SELECT run_id, status FROM teambus_sessions_runs ORDER BY fence") == [
        ("r1", "REGENERATED"),
        ("r2", "COMPLETED"),
    ]
    assert [run_id for run_id, _ in (await load(store)).history] == ["r2"]


async def test_a_save_that_is_refused_replaces_nothing(store: SessionStore) -> None:
    first = team_run("r1", 5)
    await store.save(first)
    with pytest.raises(StoreFenced):
        await store.save(going_on("r2", 4, first, replaces="r1"))
    assert await store.run("default", "s1", "r1") == first.output


async def test_a_run_of_another_session_is_not_replaced(store: SessionStore) -> None:
    first = team_run("r1", 1)
    await store.save(first)
    other = replace(run_write("r2", 1, "s2"), replaces="r1")
    await store.save(other)
    assert await store.run("default", "s1", "r1") == first.output


async def test_what_was_deleted_meanwhile_needs_no_mark(store: SessionStore) -> None:
    await store.save(going_on("r2", 1, team_run("r1", 1), replaces="r1"))
    assert await store.run("default", "s1", "r2") is not None
