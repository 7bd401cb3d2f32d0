"""From the url a user wrote to what the driver connects with."""

import math
import re

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from teambus.app.databases import url_mistake
from teambus_team_runner.sessions.errors import StoreUnfit
from teambus_team_runner.sessions.settings import StoreSettings

CONNECT_TIMEOUT_MIN_S = 2
"""The driver waits no shorter."""


def conninfo_of(url: str, password: str, settings: StoreSettings) -> str:
    """What the url does not say is filled in. Raises `StoreUnfit`, without showing the url."""
    if mistake := url_mistake(url):
        raise StoreUnfit(f"the url of the PostgreSQL database {mistake}")
    try:
        given = conninfo_to_dict(re.sub(r"^postgres(ql)?(\+\w+)?:", "postgresql:", url))
    except psycopg.ProgrammingError:
        raise StoreUnfit(
            "the url of the PostgreSQL database has a parameter or port that libpq does not know"
        ) from None
    known = _defaults(settings) | ({"password": password} if password else {})
    known |= {name: value for name, value in given.items() if value is not None}
    return make_conninfo("", **known)


def _defaults(settings: StoreSettings) -> dict[str, str | int]:
    """That a server vanished without a word is noticed, and that one is only a copy."""
    patience_s = settings.store_timeout_s
    return {
        "application_name": "teambus-team-runner",
        "client_encoding": "utf8",
        "connect_timeout": max(CONNECT_TIMEOUT_MIN_S, math.ceil(patience_s / 3)),
        "keepalives_idle": max(1, math.ceil(patience_s / 3)),
        "keepalives_interval": max(1, math.ceil(patience_s / 6)),
        "keepalives_count": 3,
        "tcp_user_timeout": math.ceil(patience_s * 1000),
        "target_session_attrs": "read-write",
    }
