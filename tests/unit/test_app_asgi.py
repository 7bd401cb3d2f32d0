"""What `get_app()` returns: it finds the gateway on its first call and says what is missing."""

import importlib.metadata
from collections.abc import MutableMapping
from typing import Any

import pytest

from teambus.app.asgi import CannotServe, Receive, Scope, Send
from tests.unit.app_parts import app


class Gateway:
    """An installed gateway that remembers what it was asked."""

    value = "fake:asgi"

    def __init__(self) -> None:
        self.loads = 0
        self.asked: list[str] = []

    def load(self) -> Any:
        self.loads += 1
        return self.answer

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope["type"])


class Broken(Gateway):
    def load(self) -> Any:
        raise ImportError("no such part")


class Server:
    """The server's side of one ASGI conversation."""

    def __init__(self) -> None:
        self.sent: list[MutableMapping[str, Any]] = []

    async def receive(self) -> MutableMapping[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message)


def install(monkeypatch: pytest.MonkeyPatch, *gateways: Gateway) -> None:
    def found(*, group: str, name: str) -> list[Gateway]:
        return list(gateways) if (group, name) == ("teambus.asgi", "gateway") else []

    monkeypatch.setattr(importlib.metadata, "entry_points", found)


async def test_the_gateway_is_loaded_once_and_answers_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway, server = Gateway(), Server()
    install(monkeypatch, gateway)
    monkeypatch.setenv("NATS_URL", "nats://x")
    bus = app()
    asgi = bus.get_app()
    assert (asgi.teambus, gateway.loads) == (bus, 0)
    for kind in ("lifespan", "http"):
        await asgi({"type": kind}, server.receive, server.send)
    assert (gateway.loads, gateway.asked) == (1, ["lifespan", "http"])


async def test_all_that_is_missing_is_said_when_the_server_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server()
    install(monkeypatch)
    monkeypatch.delenv("NATS_URL", raising=False)
    await app().get_app()({"type": "lifespan"}, server.receive, server.send)
    (said,) = server.sent
    assert said["type"] == "lifespan.startup.failed"
    assert "pip install teambus-gateway" in said["message"]
    assert "NATS_URL is not set" in said["message"]


async def test_a_server_without_a_start_gets_the_error_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server()
    install(monkeypatch, Gateway())
    monkeypatch.setenv("NATS_URL", "")
    with pytest.raises(CannotServe, match="NATS_URL is not set"):
        await app().get_app()({"type": "http"}, server.receive, server.send)


async def test_a_gateway_that_cannot_be_loaded_says_which_and_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server()
    install(monkeypatch, Broken())
    monkeypatch.setenv("NATS_URL", "nats://x")
    with pytest.raises(CannotServe, match="fake:asgi cannot be loaded: no such part"):
        await app().get_app()({"type": "http"}, server.receive, server.send)
