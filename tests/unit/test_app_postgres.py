"""A PostgreSQL database as it is declared: what is refused, and that no secret is ever shown."""

import subprocess
import sys
import traceback

import pytest

from teambus import AsyncPostgresDb, AsyncSqliteDb, DefinitionError, TeamBus
from teambus.app.databases import url_mistake
from teambus.app.describe import describe
from teambus_team_runner.sessions import StoreSettings, StoreUnfit, open_store
from teambus_team_runner.settings import Settings
from tests.unit.app_parts import team

SECRET = "hush-hush"
URL = f"postgresql://ada:{SECRET}@host:5432/desk"

WRONG_URLS = [
    ("not a url", SECRET, "is not one of PostgreSQL"),
    ("another database", f"mysql://ada:{SECRET}@host/desk", "is not one of PostgreSQL"),
    ("brackets", f"postgresql://ada:{SECRET}@[host/desk", "is not one of PostgreSQL"),
    ("no database", f"postgresql://ada:{SECRET}@host:5432/", "names no database"),
    ("a slash in the password", f"postgresql://ada:{SECRET}/x@host/desk", "must be written as"),
    ("a hash in the password", f"postgresql://ada:{SECRET}#x@host/desk", "must be written as"),
    ("a question mark in it", f"postgresql://ada:{SECRET}?x@host/desk", "must be written as"),
    ("a space", f"postgresql://ada:{SECRET} @host/desk", "must be written as"),
]


@pytest.mark.parametrize(
    ("url", "why"), [each[1:] for each in WRONG_URLS], ids=[each[0] for each in WRONG_URLS]
)
def test_a_wrong_url_is_refused_without_showing_it(url: str, why: str) -> None:
    with pytest.raises(DefinitionError, match=why) as refusal:
        AsyncPostgresDb(db_url=url)
    assert SECRET not in "".join(traceback.format_exception(refusal.value))


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "postgres://host/desk",
        "postgresql+asyncpg://ada@one:5432,two:5433/desk?target_session_attrs=primary",
        "postgresql://?service=desk",
    ],
)
def test_urls_of_every_driver_and_of_several_hosts_are_taken(url: str) -> None:
    assert url_mistake(url) is None


def test_no_text_made_from_it_shows_the_url() -> None:
    db = AsyncPostgresDb(db_url=URL, id="archive")
    app = TeamBus(teams=[team(db=db)], id="desk")
    assert SECRET not in f"{db!r} {db.place} {app.teams[0]!r} {describe(app)!r}"
    assert db.place == "host:5432/desk (public.teambus_sessions)"


def test_what_else_is_wrong_is_told_all_at_once() -> None:
    with pytest.raises(DefinitionError) as refusal:
        AsyncPostgresDb(id="a b", db_schema="a;b", session_table="x" * 49)
    for part in ("the id 'a b'", "db_schema='a;b'", "48 at most"):
        assert part in str(refusal.value)


def test_two_databases_of_one_id_are_refused_without_their_passwords() -> None:
    with pytest.raises(DefinitionError, match="two databases have the id 'postgres'") as refusal:
        TeamBus(
            teams=[
                team(db=AsyncPostgresDb(db_url=URL)),
                team(name="Other", db=AsyncPostgresDb(db_url=URL.replace("desk", "shelf"))),
            ],
            id="desk",
        )
    assert SECRET not in str(refusal.value)


def test_a_database_is_one_of_both_kinds() -> None:
    assert team(db=AsyncSqliteDb(db_file="a.db")).db is not None
    with pytest.raises(DefinitionError, match="AsyncSqliteDb or AsyncPostgresDb"):
        team(db="postgresql://host/desk")


def test_the_runners_settings_never_show_how_to_get_in() -> None:
    settings = Settings(nats_url=("nats://x",), app="x", db_url=URL, db_password=SECRET)
    assert SECRET not in repr(settings)


def test_who_declares_no_such_database_imports_no_driver() -> None:
    asked = "import sys, teambus_team_runner.main; print('psycopg' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"


async def test_a_driver_that_is_not_installed_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "teambus_team_runner.sessions.postgres", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreUnfit, match=r"pip install 'teambus-team-runner\[postgres\]'"):
        await open_store(AsyncPostgresDb(db_url=URL), StoreSettings())
