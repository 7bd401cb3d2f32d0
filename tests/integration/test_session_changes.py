"""What can be done to stored sessions, in a real database, also while runs are being saved."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from teambus.app.databases import AsyncSqliteDb, SessionDb
from teambus.contracts.output import TeamRunOutput
from teambus.contracts.sessions_api import (
    ChangeSession,
    CreateSession,
    DeleteSessions,
    ForkSession,
    GetPreviews,
    GetRuns,
    GetSession,
    ListSessions,
)
from teambus_team_runner.sessions import SessionStore, SessionTaken, StoreSettings, open_store
from tests.integration.session_questions import ask, spent, team_run, told
from tests.integration.session_runs import ONLY_SQLITE, change, load, query, run_write

PATIENT = StoreSettings(store_busy_timeout_s=10, store_timeout_s=20)
VERSION_1 = Path(__file__).parent / "sessions_of_version_1.sql"


@pytest.fixture
async def store(db: SessionDb) -> AsyncIterator[SessionStore]:
    opened = await open_store(db, PATIENT)
    yield opened
    await opened.close()


async def test_a_session_made_before_its_first_run_keeps_what_it_was_given_and_gets_metrics(
    store: SessionStore,
) -> None:
    given = CreateSession(
        session_id="s1",
        session_type="team",
        component_id="news",
        user_id="ada",
        session_name="Mine\x00",
        session_state={"seen": 0},
        metadata={"plan": "free"},
    )
    made = await told(store, given)
    assert made.created
    assert made.detail.session.session_name == "Mine"
    loaded = await load(store, user_id="ada")
    assert (loaded.session_state, loaded.metadata) == ({"seen": 0}, {"plan": "free"})
    assert loaded.fence == 0

    await store.save(team_run("r1", 1, user_id="ada"))
    await store.save(team_run("r2", 2, user_id="ada", state={"seen": 2}))
    session = (await told(store, GetSession(session_id="s1"))).session
    assert (session.session_name, session.session_state) == ("Mine", {"seen": 2})
    assert (session.metadata, session.runs) == ({"plan": "free"}, 2)
    assert session.metrics is not None
    assert session.metrics.total_tokens == 34
    assert session.created_at == made.detail.session.created_at


async def test_a_session_made_for_nobody_belongs_to_who_runs_first(store: SessionStore) -> None:
    await told(store, CreateSession(session_id="s1", session_type="agent"))
    await store.save(team_run("r1", 1, user_id="ada"))
    await store.save(team_run("r2", 2, team_id="sports", user_id="bob"))
    session = (await told(store, GetSession(session_id="s1"))).session
    assert (session.session_type, session.component_id, session.user_id) == ("team", "news", "ada")
    assert session.session_name == "question of r1"


async def test_a_run_of_an_agent_makes_a_session_of_an_agent(store: SessionStore) -> None:
    await store.save(run_write("r1", 1, agent_id="clerk", team_id="clerk"))
    session = (await told(store, GetSession(session_id="s1"))).session
    assert (session.session_type, session.component_id) == ("agent", "clerk")


async def test_a_session_that_is_there_is_not_made_again(store: SessionStore) -> None:
    await store.save(team_run("r1", 1, state={"seen": 1}))
    again = CreateSession(session_id="s1", session_type="agent", session_state={"seen": 0})
    made = await told(store, again)
    assert not made.created
    assert made.detail.session.session_state == {"seen": 1}
    assert made.detail.session.session_type == "team"


async def test_of_many_who_make_the_same_session_one_does(db: SessionDb) -> None:
    stores = [await open_store(db, PATIENT) for _ in range(3)]
    questions = [
        CreateSession(session_id="s1", session_type="team", session_name=f"by {n}")
        for n in range(30)
    ]
    made = await asyncio.gather(
        *(told(stores[n % 3], question) for n, question in enumerate(questions))
    )
    [name] = [each.detail.session.session_name for each in made if each.created]
    assert {each.detail.session.session_name for each in made} == {name}
    for store in stores:
        await store.close()


async def test_a_change_replaces_what_is_given_and_leaves_the_rest(store: SessionStore) -> None:
    await store.save(team_run("r1", 1, user_id="ada", state={"a": 1, "b": 2}))
    summary = {"summary": "short", "topics": ["x"]}
    changed = await told(store, ChangeSession(session_id="s1", summary=summary))
    assert changed.session.summary == summary
    assert changed.session.session_state == {"a": 1, "b": 2}
    changed = await told(
        store, ChangeSession(session_id="s1", session_name="", session_state={}, user_id="ada")
    )
    assert (changed.session.session_name, changed.session.session_state) == ("", {})
    assert (changed.session.summary, changed.session.runs) == (summary, 1)
    assert changed.session.updated_at > 1_700_000_001
    assert await ask(store, ChangeSession(session_id="s1", user_id="bob", metadata={})) is None
    assert await ask(store, ChangeSession(session_id="nobody", metadata={})) is None


async def test_changes_and_runs_at_the_same_time_lose_nothing_of_each_other(
    db: SessionDb,
) -> None:
    stores = [await open_store(db, PATIENT) for _ in range(2)]
    await stores[0].save(team_run("r0", 1))

    async def runs() -> None:
        for n in range(1, 30):
            await stores[0].save(team_run(f"r{n}", n + 1, state={"seen": n}))

    async def changes() -> None:
        for n in range(30):
            name = ChangeSession(session_id="s1", session_name=f"name {n}")
            await told(stores[1], name)
            await told(stores[1], ChangeSession(session_id="s1", metadata={"n": n}))

    await asyncio.gather(runs(), changes())
    session = (await told(stores[0], GetSession(session_id="s1"))).session
    assert (session.session_name, session.metadata) == ("name 29", {"n": 29})
    assert (session.session_state, session.runs) == ({"seen": 29}, 30)
    assert session.metrics is not None
    assert session.metrics.total_tokens == 30 * 17
    for store in stores:
        await store.close()


async def test_a_deleted_session_is_gone_with_its_runs_and_others_stay(
    store: SessionStore, db: SessionDb
) -> None:
    await store.save(team_run("r1", 1, user_id="ada"))
    await store.save(team_run("r2", 2, user_id="ada"))
    await store.save(team_run("x", 1, "s2", user_id="bob"))
    await store.save(team_run("y", 1, "s3", user_id="ada"))
    deleted = await told(
        store, DeleteSessions(session_ids=["s1", "s2", "s1", "nobody"], user_id="ada")
    )
    assert deleted.deleted == 1
    assert await ask(store, GetSession(session_id="s1")) is None
    assert await store.run("default", "s1", "r1") is None
    assert sorted(query(db, "SELECT run_id FROM teambus_sessions_runs")) == [("x",), ("y",)]
    assert (await told(store, ListSessions())).total == 2
    again = await told(store, DeleteSessions(session_ids=["s1"]))
    assert again.deleted == 0


async def test_a_run_that_ends_after_its_session_was_deleted_brings_it_back(
    store: SessionStore,
) -> None:
    await store.save(team_run("r1", 1, state={"seen": 1}))
    await told(store, DeleteSessions(session_ids=["s1"]))
    await store.save(team_run("r2", 2))
    session = (await told(store, GetSession(session_id="s1"))).session
    assert (session.runs, session.session_state) == (1, None)


async def test_a_fork_is_a_copy_under_new_ids_that_goes_its_own_way(store: SessionStore) -> None:
    first = team_run("r1", 5, user_id="ada", state={"seen": 1})
    await store.save(first)
    await store.save(team_run("r2", 6, user_id="ada"))
    await told(store, ChangeSession(session_id="s1", metadata={"m": 1}, summary={"summary": "x"}))
    forked = await told(
        store, ForkSession(session_id="s1", new_session_id="f1", component_id="news")
    )
    assert (forked.session_id, forked.forked_from_session_id, forked.runs) == ("f1", "s1", 2)

    source = await told(store, GetSession(session_id="s1"))
    copy = await told(store, GetSession(session_id="f1"))
    assert copy.chat_history == source.chat_history
    for name in ("session_name", "session_state", "metadata", "summary", "metrics", "user_id"):
        assert getattr(copy.session, name) == getattr(source.session, name), name

    stored = (await told(store, GetRuns(session_id="f1"))).runs[0]
    run = msgspec.json.decode(stored, type=TeamRunOutput)
    [of_member] = run.member_responses
    assert run.run_id not in ("r1", None)
    assert (run.session_id, of_member.session_id) == ("f1", "f1")
    assert (of_member.parent_run_id, of_member.run_id != "r1-member") == (run.run_id, True)
    assert run.tools is not None
    assert run.tools[0].child_run_id == of_member.run_id
    assert run.events == [{"event": "TeamRunStarted", "run_id": run.run_id, "session_id": "f1"}]
    assert (run.forked_from_session_id, of_member.forked_from_session_id) == ("s1", "s1")
    assert run.messages == first.output.messages
    assert await store.run("default", "f1", run.run_id) == run

    await store.save(run_write("new", 1, "f1"))
    assert [id_ for id_, _ in (await load(store, "f1")).history][-1] == "new"
    assert (await told(store, GetSession(session_id="s1"))).session.runs == 2


async def test_a_fork_asked_for_again_is_the_same_fork(store: SessionStore) -> None:
    await store.save(team_run("r1", 1))
    question = ForkSession(session_id="s1", new_session_id="f1", user_id=None)
    forked = await told(store, question)
    assert await told(store, question) == forked
    assert len((await told(store, GetPreviews(session_id="f1"))).runs) == 2
    assert (await told(store, ListSessions())).total == 2


async def test_a_fork_of_a_fork_names_the_first_session(store: SessionStore) -> None:
    await store.save(team_run("r1", 1))
    await told(store, ForkSession(session_id="s1", new_session_id="f1"))
    await told(store, ForkSession(session_id="f1", new_session_id="f2"))
    [stored] = (await told(store, GetRuns(session_id="f2"))).runs
    assert msgspec.json.decode(stored)["forked_from_session_id"] == "s1"


async def test_a_fork_does_not_go_into_a_session_that_is_there(store: SessionStore) -> None:
    await store.save(team_run("r1", 1))
    await store.save(team_run("x", 1, "taken"))
    with pytest.raises(SessionTaken, match='"taken" is there already'):
        await told(store, ForkSession(session_id="s1", new_session_id="taken"))
    assert (await told(store, GetSession(session_id="taken"))).session.runs == 1


async def test_what_is_empty_or_somebody_elses_is_not_forked(store: SessionStore) -> None:
    await told(store, CreateSession(session_id="empty", session_type="team"))
    await store.save(team_run("r1", 1, user_id="ada"))
    for question in (
        ForkSession(session_id="nobody", new_session_id="f"),
        ForkSession(session_id="empty", new_session_id="f"),
        ForkSession(session_id="s1", new_session_id="f", user_id="bob"),
        ForkSession(session_id="s1", new_session_id="f", component_id="sports"),
    ):
        assert await ask(store, question) is None
    assert await ask(store, GetSession(session_id="f")) is None


def make_version_1(db: SessionDb) -> None:
    if isinstance(db, AsyncSqliteDb):
        db.path.parent.mkdir(parents=True)
        with closing(sqlite3.connect(db.path)) as connection:
            connection.executescript(VERSION_1.read_text())
    else:
        change(db, f"CREATE SCHEMA {db.db_schema}")
        change(db, VERSION_1.read_text().replace(" DOUBLE ", " DOUBLE PRECISION "))


async def test_tables_of_version_1_are_brought_up_to_date_in_place(db: SessionDb) -> None:
    make_version_1(db)
    outputs = "SELECT run_id, fence, output FROM teambus_sessions_runs ORDER BY run_id"
    before = query(db, outputs)
    store = await open_store(db, PATIENT)
    assert query(db, outputs) == before
    page = await told(store, ListSessions(sort_by="session_id", descending=False))
    first, second = page.sessions
    assert (first.session_id, first.session_type, first.runs) == ("s1", "team", 2)
    assert (first.session_name, first.session_state) == ("question of r1", {"seen": 2})
    assert first.metrics is not None
    assert (first.metrics.total_tokens, second.session_id) == (38, "s2")
    runs = (await told(store, GetRuns(session_id="s2"))).runs
    assert msgspec.json.decode(runs[0])["content"] == {"title": "it's"}
    await store.save(run_write("r3", 3, metrics=spent(1)))
    assert (await told(store, GetSession(session_id="s1"))).session.runs == 3
    await store.close()
    again = await open_store(db, PATIENT)
    assert (await told(again, ListSessions())).total == 2
    await again.close()


@ONLY_SQLITE
async def test_an_upgraded_file_has_the_tables_of_a_new_one(
    db: AsyncSqliteDb, tmp_path: Path
) -> None:
    make_version_1(db)
    new = AsyncSqliteDb(db_file=tmp_path / "new.db")
    for each in (db, new):
        await (await open_store(each, PATIENT)).close()

    def shape(db: AsyncSqliteDb) -> dict[str, object]:
        tables = [name for (name,) in query(db, "SELECT name FROM sqlite_master")]
        of_runs = query(db, "PRAGMA table_info(teambus_sessions_runs)")
        of_sessions = query(db, "PRAGMA table_info(teambus_sessions)")
        return {
            "names": sorted(tables),
            "runs": of_runs,
            "sessions": {(name, kind, null) for _, name, kind, null, *_ in of_sessions},
            "version": query(db, "SELECT * FROM teambus_schema"),
        }

    assert shape(db) == shape(new)


async def test_many_who_open_tables_of_version_1_upgrade_them_once(db: SessionDb) -> None:
    make_version_1(db)
    stores = await asyncio.gather(*(open_store(db, PATIENT) for _ in range(4)))
    for store in stores:
        assert (await told(store, ListSessions())).total == 2
        await store.close()


async def test_a_runner_of_version_1_that_is_still_open_goes_on_after_the_upgrade(
    db: SessionDb,
) -> None:
    make_version_1(db)
    store = await open_store(db, PATIENT)
    change(
        db,
        "INSERT INTO teambus_sessions_runs (tenant, run_id, session_id, team_id, fence, status,"
        " input, content_preview, created_at, completed_at, output) SELECT tenant, 'late',"
        " session_id, team_id, 3, status, input, content_preview, created_at, completed_at,"
        " output FROM teambus_sessions_runs WHERE run_id = 'r1'",
    )
    session = (await told(store, GetSession(session_id="s1"))).session
    assert session.runs == 3
    await store.close()
