"""Where a team's sessions are kept, as plain data. The team-runner opens it."""

import re
from pathlib import Path
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

from teambus.app.errors import DefinitionError
from teambus.app.names import id_mistakes, slug
from teambus.app.options import definition, hidden, labelled

_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}\Z")
_POSTGRES = re.compile(r"postgres(ql)?(\+[a-z0-9_]+)?\Z")
_POSTGRES_EXAMPLE = "postgresql://user:password@host:5432/database"
# PostgreSQL's names have 63 characters; those of the indexes are made from the table's.
_POSTGRES_TABLE_LENGTH_MAX = 48


@definition("database")
class AsyncSqliteDb:
    """A SQLite file. A relative path is relative to the working directory of the declaration.

    `db_file` is absolute once declared. The id is made from the file's name unless given.
    """

    db_file: str | Path = ""
    session_table: str = "teambus_sessions"
    id: str = ""

    def __post_init__(self) -> None:
        label = labelled("database", self.id or str(self.db_file))
        if str(self.db_file) in ("", ":memory:"):
            raise DefinitionError(
                f"{label}: sessions need a file that outlives the process;"
                ' write db_file="tmp/team.db"'
            )
        self.db_file = Path(self.db_file).absolute()
        self.id = self.id or slug(self.db_file.name)
        mistakes = id_mistakes(label, self.id)
        if not _TABLE.match(self.session_table):
            mistakes.append(
                f"{label}: session_table={self.session_table!r} must be letters, digits and _"
            )
        if mistakes:
            raise DefinitionError(*mistakes)

    @property
    def path(self) -> Path:
        return Path(self.db_file)

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"{self.path} ({self.session_table})"


@definition("database")
class AsyncPostgresDb:
    """A PostgreSQL database. Without `db_url` the team-runner's `TEAM_RUNNER_DB_URL` says where.

    The url is one of libpq, several hosts and all its parameters included; a driver's name in it
    (`postgresql+asyncpg://`) is skipped. A schema that is missing is made, unless `create_schema`
    is False.
    """

    db_url: str = hidden(default="")
    db_schema: str = "public"
    session_table: str = "teambus_sessions"
    create_schema: bool = True
    id: str = "postgres"

    def __post_init__(self) -> None:
        label = labelled("database", self.id)
        mistakes = id_mistakes(label, self.id)
        if self.db_url and (mistake := url_mistake(self.db_url)):
            mistakes.append(f"{label}: db_url {mistake}")
        if not _TABLE.match(self.db_schema):
            mistakes.append(f"{label}: db_schema={self.db_schema!r} must be letters, digits and _")
        fits = len(self.session_table) <= _POSTGRES_TABLE_LENGTH_MAX
        if not (fits and _TABLE.match(self.session_table)):
            mistakes.append(
                f"{label}: session_table={self.session_table!r} must be letters, digits and _,"
                f" {_POSTGRES_TABLE_LENGTH_MAX} at most"
            )
        if mistakes:
            raise DefinitionError(*mistakes)

    @property
    def place(self) -> str:
        """Where it is, for people: without user and password."""
        table = f"{self.db_schema}.{self.session_table}"
        return f"{url_place(self.db_url) if self.db_url else 'TEAM_RUNNER_DB_URL'} ({table})"


SessionDb: TypeAlias = AsyncSqliteDb | AsyncPostgresDb


def url_mistake(url: str) -> str | None:
    """What is wrong with the url of a PostgreSQL database, told without showing any of it."""
    parts = _split(url)
    if parts is None or not _POSTGRES.match(parts.scheme):
        return f"is not one of PostgreSQL; write {_POSTGRES_EXAMPLE}"
    if parts.fragment or "@" in parts.path + parts.query or any(c <= " " for c in url):
        return "has a character in it that must be written as in %40 for @, %2F for /, %23 for #"
    if not (parts.path.strip("/") or parts.query):
        return f"names no database; write {_POSTGRES_EXAMPLE}"
    return None


def url_place(url: str) -> str:
    """Hosts and database of an url that has no mistake."""
    parts = _split(url)
    assert parts is not None
    return parts.netloc.rpartition("@")[2] + parts.path


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:  # its text may hold the password
        return None
