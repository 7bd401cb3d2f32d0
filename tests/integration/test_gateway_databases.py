"""Which database is asked, and what a client hears when it cannot be."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from teambus.bus import catalogue
from teambus.bus.api import NobodyAnswers, Question, Reply, answering, ask
from teambus.bus.bodies import Bodies
from teambus.contracts import subjects
from teambus.contracts.catalogue import AppDescription, TeamDescription
from teambus.contracts.sessions_api import VERBS
from tests.integration.gateway_parts import APP, TEAM, system
from tests.integration.session_api_parts import Library, library
from tests.integration.session_questions import team_run

REQUIRED = "The db_id query parameter is required when using multiple databases"


def detail(reply: Any) -> tuple[int, str]:
    return reply.status_code, reply.json()["detail"]


async def test_a_database_is_named_where_there_are_several(tmp_path: Path) -> None:
    async with library(tmp_path, teams=2) as here:
        await here.store.save(team_run("r1", 1, team_id="content-team"))
        await here.stores["other-team"].save(team_run("x", 1, "s2", team_id="other-team"))
        assert detail(await here.get("/sessions")) == (400, REQUIRED)
        for db_id, expected in (("team-db", "s1"), ("other-db", "s2")):
            listed = (await here.get("/sessions", db_id=db_id)).json()["data"]
            assert [session["session_id"] for session in listed] == [expected]
            found = await here.get(f"/sessions/{expected}")
            assert found.status_code == 200
            elsewhere = {"team-db": "other-db", "other-db": "team-db"}[db_id]
            assert (await here.get(f"/sessions/{expected}", db_id=elsewhere)).status_code == 404
            assert (await here.get(f"/sessions/{expected}/runs")).status_code == 200
        assert detail(await here.send("POST", "/sessions", {}, type="team")) == (400, REQUIRED)
        await here.send("POST", "/sessions", {"team_id": "other-team"}, type="team")
        assert (await here.get("/sessions", db_id="other-db")).json()["meta"]["total_count"] == 2
        await here.send("DELETE", "/sessions/s2")
        assert (await here.get("/sessions/s2")).status_code == 404


async def test_a_database_or_table_that_is_not_there_is_told(tmp_path: Path) -> None:
    async with library(tmp_path) as here:
        for path in ("/sessions", "/sessions/s1", "/sessions/s1/runs"):
            assert detail(await here.get(path, db_id="x")) == (
                404,
                "No database found with id 'x'",
            )
            assert detail(await here.get(path, db_id="team-db", table="x")) == (
                404,
                "No database with id 'team-db' has table 'x'",
            )
            assert detail(await here.get(path, table="x")) == (
                400,
                "The db_id query parameter is required when passing a table",
            )
        named = await here.get("/sessions", db_id="team-db", table="teambus_sessions")
        assert named.status_code == 200


async def test_without_any_database_there_are_no_sessions(tmp_path: Path) -> None:
    async with system(tmp_path, work=False) as here:
        bare = AppDescription(id=APP.id, teams=[TeamDescription(id=TEAM.id, name=TEAM.name)])
        await catalogue.put(here.bus, bare)
        async with here.gateway() as gateway:
            none = await gateway.http.get("/sessions")
            runs = await gateway.http.get("/teams/content-team/runs?session_id=s1")
            fork = await gateway.http.post("/teams/content-team/sessions/s1/fork")
    assert detail(none) == (400, "No database is configured on this AgentOS")
    assert detail(runs) == (404, "Session not found")
    assert detail(fork) == (400, "Source session has no runs to fork.")


WRITES = [
    ("POST", "/sessions", {"team_id": "content-team"}),
    ("PATCH", "/sessions/s1", {"session_name": "x"}),
    ("POST", "/sessions/s1/rename", {"session_name": "x"}),
    ("DELETE", "/sessions/s1", None),
    ("POST", "/teams/content-team/sessions/s1/fork", None),
]
READS = [
    ("GET", "/sessions", None),
    ("GET", "/sessions/s1", None),
    ("GET", "/sessions/s1/runs", None),
    ("GET", "/sessions/s1/run-previews", None),
    ("GET", "/sessions/s1/runs/r1", None),
    ("GET", "/teams/content-team/runs?session_id=s1", None),
]


async def each_reply(here: Library, requests: list[tuple[str, str, Any]]) -> list[Any]:
    return [await here.gateway.http.request(m, path, json=body) for m, path, body in requests]


async def test_a_database_nobody_serves_is_503_and_not_an_absent_session(tmp_path: Path) -> None:
    async with library(tmp_path) as here:
        await here.answering.aclose()
        for reply in await each_reply(here, [*WRITES, *READS]):
            assert reply.status_code == 503
            assert reply.json()["code"] == "database_unserved"
            assert reply.headers["retry-after"] == "5"


async def test_an_answer_that_does_not_come_is_503_and_says_whether_anything_may_have_changed(
    tmp_path: Path,
) -> None:
    async with library(tmp_path, store_timeout_s=0.3) as here:
        await here.answering.aclose()
        deaf = await here.here.bus.client.subscribe(subjects.api("*", "db.team-db.>"))
        await here.here.bus.barrier()
        for reply in await each_reply(here, WRITES):
            assert (reply.status_code, reply.json()["code"]) == (503, "outcome_unknown")
            assert reply.headers["retry-after"] == "5"
        for reply in await each_reply(here, READS):
            assert (reply.status_code, reply.json()["code"]) == (503, "store_unavailable")
        await deaf.unsubscribe()


@pytest.mark.parametrize(
    ("error", "expected"),
    [(503, (503, "store_unavailable")), (500, (503, "store_unavailable")), (413, (413, None))],
)
async def test_what_the_runner_cannot_do_is_told_on(
    tmp_path: Path, error: int, expected: tuple[int, str | None]
) -> None:
    async def refuse(_: Question) -> Reply:
        return Reply.error(error, "the disk is full")

    async with library(tmp_path) as here:
        await here.answering.aclose()
        subject = subjects.api("*", "db.team-db.sessions.get")
        async with answering(here.here.bus, subject, refuse, queue="db", at_once_max=1):
            reply = await here.get("/sessions/s1")
    status, code = expected
    assert detail(reply) == (status, "the disk is full")
    assert reply.json()["code"] == code or error == 413


async def test_any_client_of_the_bus_may_ask_and_is_told_what_is_wrong_with_a_question(
    tmp_path: Path,
) -> None:
    async with library(tmp_path) as here:
        await here.store.save(team_run("r1", 1))
        bus = here.here.bus

        async def asked(verb: str, question: bytes, tenant: str = "default") -> Reply:
            return await ask(bus, subjects.api(tenant, f"db.team-db.{verb}"), question, wait_s=5)

        listed = msgspec.json.decode((await asked("sessions.list", b"{}")).data)
        assert [session["session_id"] for session in listed["sessions"]] == ["s1"]
        assert (await asked("sessions.list", b"{}", "else")).data == b'{"sessions":[],"total":0}'
        assert (await asked("sessions.get", b'{"session_id":"nobody"}')).data == b""
        made = await asked("sessions.create", b'{"session_id":"n","session_type":"team"}')
        assert msgspec.json.decode(made.data)["created"] is True
        by_reference = b'{"session_id":"n","metadata":{"a":"%s"}}' % (b"x" * 2_000_000)
        data, headers = await Bodies(bus).fit(by_reference, owner="test")
        subject = subjects.api("default", "db.team-db.sessions.change")
        changed = await ask(bus, subject, data, wait_s=5, headers=headers)
        assert changed.error_code is None
        for verb, question, why in (
            ("sessions.list", b'{"limit":0}', "Expected `int` >= 1 - at `$.limit`"),
            ("sessions.list", b'{"sort_by":"output"}', "Invalid enum value 'output'"),
            ("sessions.create", b"{}", "missing required field `session_id`"),
            ("sessions.create", b'{"session_id":"","session_type":"team"}', "length >= 1"),
            ("sessions.delete", b'{"session_ids":[]}', "length >= 1"),
            ("sessions.get", b"\xff", "malformed query"),
        ):
            refused = await asked(verb, question)
            assert (refused.error_code, why in refused.error_detail) == ("400", True), verb
        lost = {"Teambus-Body": "gone/0"}
        subject = subjects.api("default", "db.team-db.sessions.get")
        assert (await ask(bus, subject, b"", wait_s=5, headers=lost)).error_code == "400"
        taken = await asked("sessions.fork", b'{"session_id":"s1","new_session_id":"n"}')
        assert taken.error_code == "409"
        with pytest.raises(NobodyAnswers):
            await ask(bus, subjects.api("default", "db.x.sessions.list"), b"{}", wait_s=1)


def test_each_kind_of_question_has_a_verb_of_its_own() -> None:
    names = [verb.name for verb in VERBS.values()]
    assert len(names) == len(set(names)) == 9
