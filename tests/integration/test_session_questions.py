"""What can be asked about stored sessions, in a real database."""

from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from sqlite3 import connect

import msgspec
import pytest
from sqlalchemy.dialects import sqlite

from teambus.app.databases import AsyncSqliteDb, SessionDb
from teambus.contracts.output import RunStatus, TeamRunOutput
from teambus.contracts.sessions_api import (
    CreateSession,
    GetPreviews,
    GetRuns,
    GetSession,
    ListSessions,
    SessionPage,
    SessionRuns,
)
from teambus_team_runner.sessions import SessionStore, SessionTooLarge, StoreSettings, open_store
from teambus_team_runner.sessions.statements import Statements
from teambus_team_runner.sessions.tables import Tables
from tests.integration.session_questions import ask, member, statements_heard, team_run, told
from tests.integration.session_runs import ONLY_SQLITE, message, query, run_write

BYTES_MAX = 20_000
SMALL = StoreSettings(store_busy_timeout_s=5, store_timeout_s=10, session_bytes_max=BYTES_MAX)


@pytest.fixture
async def store(db: SessionDb) -> AsyncIterator[SessionStore]:
    opened = await open_store(db, SMALL)
    yield opened
    await opened.close()


def ids(page: SessionPage) -> list[str]:
    return [session.session_id for session in page.sessions]


def run_ids(answer: SessionRuns) -> list[str]:
    return [msgspec.json.decode(run)["run_id"] for run in answer.runs]


async def test_a_list_tells_of_each_session_what_its_runs_used_leaders_and_members_together(
    store: SessionStore,
) -> None:
    await store.save(team_run("r1", 1, user_id="ada", state={"seen": 1}))
    await store.save(team_run("r2", 2, user_id="ada"))
    await store.save(team_run("other", 1, "s2", created_at=1))
    page = await told(store, ListSessions())
    assert (ids(page), page.total) == (["s1", "s2"], 2)
    first, second = page.sessions
    assert (first.session_name, first.session_type) == ("question of r1", "team")
    assert (first.component_id, first.user_id, first.session_state) == ("news", "ada", {"seen": 1})
    assert (first.runs, second.runs) == (2, 1)
    assert first.metrics is not None
    assert second.metrics is not None
    assert (first.metrics.total_tokens, second.metrics.total_tokens) == (34, 17)
    assert (first.metrics.input_tokens, first.metrics.output_tokens) == (30, 4)
    assert first.metrics.duration is None
    [models] = (first.metrics.details or {}).values()
    assert [(each.id, each.total_tokens) for each in models] == [("gpt-5.2", 34)]


async def test_a_list_is_cut_into_pages_and_each_session_is_on_one(store: SessionStore) -> None:
    for n in range(7):
        await store.save(run_write(f"r{n}", 1, f"s{n}"))
    pages = [await told(store, ListSessions(limit=3, page=page)) for page in (1, 2, 3, 4)]
    assert [ids(page) for page in pages] == [["s6", "s5", "s4"], ["s3", "s2", "s1"], ["s0"], []]
    assert [page.total for page in pages] == [7] * 4


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (ListSessions(user_id="ada"), ["c", "a"]),
        (ListSessions(component_id="sports"), ["b"]),
        (ListSessions(session_type="agent"), ["d"]),
        (ListSessions(session_type="team", user_id="ada", component_id="news"), ["c", "a"]),
        (ListSessions(name_part="100% OF_it"), ["c"]),
        (ListSessions(name_part="%"), ["c"]),
        (ListSessions(name_part="question"), ["b", "a"]),
        (ListSessions(sort_by="session_id"), ["d", "c", "b", "a"]),
        (ListSessions(sort_by="session_name", descending=False), ["d", "c", "a", "b"]),
        (ListSessions(sort_by="component_id", descending=False), ["d", "a", "c", "b"]),
        (ListSessions(sort_by="updated_at"), ["d", "a", "b", "c"]),
        (ListSessions(descending=False), ["a", "b", "c", "d"]),
    ],
)
async def test_a_list_is_what_fits_in_the_order_asked_for(
    store: SessionStore, question: ListSessions, expected: list[str]
) -> None:
    await store.save(run_write("x", 1, "a", user_id="ada", created_at=1))
    await store.save(run_write("y", 1, "b", team_id="sports", user_id="bob", created_at=2))
    third = run_write("z", 1, "c", user_id="ada", created_at=3)
    assert third.output.input is not None
    third.output.input.input_content = "All 100% of_it"
    await store.save(replace(third, completed_at=5.0))
    await told(store, CreateSession(session_id="d", session_type="agent", component_id="clerk"))
    if question.sort_by == "updated_at":
        await store.save(replace(run_write("y2", 2, "b"), completed_at=1_600_000_000.0))
    page = await told(store, question)
    assert ids(page) == expected
    assert page.total == len(expected)


async def test_no_session_of_another_tenant_is_told_of(store: SessionStore) -> None:
    await store.save(team_run("r1", 1))
    assert (await store.answer("else", ListSessions())).total == 0
    for question in (GetSession(session_id="s1"), GetRuns(session_id="s1")):
        assert await store.answer("else", question) is None


async def test_a_session_of_another_user_is_as_if_it_were_not_there(store: SessionStore) -> None:
    await store.save(team_run("r1", 1, user_id="ada"))
    for kind in (GetSession, GetRuns, GetPreviews):
        assert await ask(store, kind(session_id="s1", user_id="bob")) is None
        assert await ask(store, kind(session_id="s1", user_id="ada")) is not None
        assert await ask(store, kind(session_id="nobody")) is None


@ONLY_SQLITE
async def test_a_list_of_a_thousand_sessions_reads_no_output(
    store: SessionStore, db: AsyncSqliteDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.save(team_run("r1", 1))
    with statements_heard(monkeypatch) as heard:
        await told(store, ListSessions(limit=1000))
    read = {column.name for statement in heard for column in statement.selected_columns}
    assert {"session_id", "metrics", "total"} <= read
    assert "output" not in read
    columns = [name for _, name, *_ in query(db, "PRAGMA table_info(teambus_sessions_runs)")]
    # What stands behind a long output is found only by reading through it.
    assert columns[-1] == "output"


@ONLY_SQLITE
async def test_a_list_finds_its_sessions_and_their_runs_by_index(
    store: SessionStore, db: AsyncSqliteDb
) -> None:
    statements = Statements(Tables(db.session_table))
    newest = ("created_at", True)
    nothing = dict.fromkeys(("session_type", "component_id", "user_id", "name_part"))
    values = {"tenant": "default", "limit": 20, "offset": 0, **nothing}
    plans = []
    for statement in (statements.page[newest], statements.page_metrics[newest]):
        text = statement.compile(dialect=sqlite.dialect(paramstyle="named"))
        with closing(connect(db.path)) as connection:
            found = connection.execute(f"EXPLAIN QUERY PLAN {text}", values).fetchall()
        plans.append(str(found))
    for plan in plans:
        assert "USING INDEX teambus_sessions_by_age (tenant=?)" in plan
        assert "ORDER BY" not in plan
    assert "teambus_sessions_runs_in_order (tenant=? AND session_id=?)" in plans[1]


async def test_what_was_said_is_between_user_and_leader_and_each_thing_once(
    store: SessionStore,
) -> None:
    await store.save(team_run("r1", 1))
    await store.save(team_run("r2", 2, status=RunStatus.ERROR))
    await store.save(run_write("inner", 3, parent_run_id="r2"))
    detail = await told(store, GetSession(session_id="s1"))
    assert [(each["role"], each["content"]) for each in detail.chat_history] == [
        ("user", "question of r1"),
        ("assistant", "answer of r1"),
        ("user", "question of r2"),
        ("assistant", "answer of r2"),
    ]
    assert detail.session.runs == 3


async def test_of_a_long_session_the_newest_of_what_was_said_is_told(store: SessionStore) -> None:
    for n in range(1, 6):
        await store.save(team_run(f"r{n}", n, content="x" * (BYTES_MAX // 3)))
    detail = await told(store, GetSession(session_id="s1"))
    said = [each["content"] for each in detail.chat_history if each["role"] == "user"]
    assert said == ["question of r4", "question of r5"]
    assert detail.session.runs == 5


async def test_runs_come_as_they_were_answered_in_their_order(store: SessionStore) -> None:
    writes = [team_run("z", 1), team_run("r2", 2), team_run("r10", 10)]
    for write in writes:
        await store.save(write)
    answer = await told(store, GetRuns(session_id="s1"))
    assert run_ids(answer) == ["z", "r2", "r10"]
    assert msgspec.json.decode(answer.runs[1], type=TeamRunOutput) == writes[1].output


async def test_runs_are_chosen_by_when_they_were_under_way(store: SessionStore) -> None:
    for n, at in enumerate((100, 200, 300), 1):
        write = team_run(f"r{n}", n, created_at=at)
        await store.save(replace(write, completed_at=at + 50.0))
    for after, before, expected in (
        (120, None, ["r1", "r2", "r3"]),
        (151, None, ["r2", "r3"]),
        (None, 200, ["r1", "r2"]),
        (151, 299, ["r2"]),
    ):
        question = GetRuns(session_id="s1", after=after, before=before)
        assert run_ids(await told(store, question)) == expected
        previews = await told(store, GetPreviews(session_id="s1", after=after, before=before))
        assert [run.run_id for run in previews.runs if run.parent_run_id is None] == expected


async def test_one_run_is_found_by_its_id_and_by_that_of_a_member_at_any_depth(
    store: SessionStore,
) -> None:
    deep = member("deep_%", "inner")
    inner = member("inner", "r2", agent_id=None, team_id="inner", member_responses=[deep])
    await store.save(team_run("r1", 1, content="of r2, inner and deep_% it is said"))
    await store.save(team_run("r2", 2, member_responses=[inner]))
    for run_id, expected in (
        ("r1", ["r1"]),
        ("r2", ["r2"]),
        ("r1-member", ["r1"]),
        ("deep_%", ["r2"]),
        ("INNER", []),
        ("nobody", []),
    ):
        answer = await told(store, GetRuns(session_id="s1", run_id=run_id))
        assert run_ids(answer) == expected, run_id


async def test_previews_are_short_and_members_come_before_their_run(store: SessionStore) -> None:
    await store.save(team_run("r1", 1, user_id="ada", content="long " * 100))
    previews = await told(store, GetPreviews(session_id="s1"))
    of_member, of_team = previews.runs
    assert (of_member.run_id, of_member.parent_run_id) == ("r1-member", "r1")
    assert (of_member.agent_id, of_member.team_id) == ("writer", None)
    assert (of_member.run_input, of_member.content_preview) == ("a task", "a member's words")
    assert (of_team.run_id, of_team.team_id, of_team.user_id) == ("r1", "news", "ada")
    assert of_member.user_id == "ada"
    assert (of_team.run_input, len(of_team.content_preview)) == ("question of r1", 280)


async def test_more_than_is_read_at_once_is_refused_unread(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in (1, 2, 3):
        await store.save(team_run(f"r{n}", n, content="x" * (BYTES_MAX // 2), created_at=n))
    for question in (GetRuns(session_id="s1"), GetPreviews(session_id="s1")):
        with statements_heard(monkeypatch) as heard, pytest.raises(SessionTooLarge) as refusal:
            await ask(store, question)
        read = {column.name for statement in heard for column in statement.selected_columns}
        assert "output" not in read
        assert f"at most {BYTES_MAX}" in str(refusal.value)
    assert run_ids(await told(store, GetRuns(session_id="s1", before=1))) == ["r1"]
    assert run_ids(await told(store, GetRuns(session_id="s1", run_id="r2"))) == ["r2"]


async def test_messages_that_hold_more_than_this_version_knows_are_told_whole(
    store: SessionStore,
) -> None:
    await store.save(run_write("r1", 1, messages=[message("user", "hello")]))
    detail = await told(store, GetSession(session_id="s1"))
    assert detail.chat_history == [
        {
            "id": "user-hello",
            "role": "user",
            "from_history": False,
            "stop_after_tool_call": False,
            "created_at": 1,
            "content": "hello",
        }
    ]
