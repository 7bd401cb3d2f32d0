"""When a server is left, and for which other."""

from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlparse

import pytest
from nats.aio.client import Client, Server

from teambus.bus import servers
from teambus.bus.servers import Choice, Silence, public


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [100.0]
    monkeypatch.setattr(servers, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    return clock


def test_a_silence_begins_with_the_first_question_nobody_answered(now: list[float]) -> None:
    silence = Silence()
    now[0] += 50
    assert not silence.lasts(8)
    now[0] += 7.9
    assert not silence.lasts(8)
    now[0] += 0.1
    assert silence.lasts(8)


def test_an_answer_ends_a_silence(now: list[float]) -> None:
    silence = Silence()
    silence.lasts(8)
    now[0] += 7
    silence.end()
    now[0] += 7
    assert not silence.lasts(8)


def chosen(left: str, **reconnects: int) -> str:
    """Which of the servers, by name, after the one that was left."""
    server = SimpleNamespace(uri=urlparse(f"nats://{left}:1"))
    client = SimpleNamespace(is_closed=False, _current_server=server, _transport=None)
    pool: list[Any] = [
        Server(uri=urlparse(f"nats://user:secret@{name}:1"), reconnects=count)
        for name, count in reconnects.items()
    ]
    next_one, pause_s = Choice(cast(Client, client))(pool, {})
    assert pause_s > 0
    return str(next_one.uri.hostname)


def test_the_server_that_was_left_is_not_the_next() -> None:
    assert chosen("a", a=0, b=0, c=0) == "b"
    assert chosen("b", a=1, b=0, c=0) == "c"


def test_the_server_that_was_left_is_tried_when_the_others_fail() -> None:
    assert chosen("a", a=0, b=3, c=3) == "a"
    assert chosen("a", a=0) == "a"


def test_a_password_in_an_address_is_not_shown() -> None:
    assert public("nats://user:secret@here:4222") == "nats://here:4222"
    assert public("user:secret@here:4222") == "here:4222"
    assert public("nats://here:4222") == "nats://here:4222"
