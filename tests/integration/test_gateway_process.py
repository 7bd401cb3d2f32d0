"""The gateway as a process: settings, readiness, sockets, signals, and as an ASGI application."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import httpx2
import pytest
import uvicorn
from httpx2 import AsyncClient
from starlette.types import ASGIApp

from teambus_gateway.main import AsgiGateway
from teambus_gateway.serving import Server
from tests.integration.gateway_parts import system
from tests.support.processes import Process
from tests.support.system import until

FORM = {"message": "x", "stream": "false"}


def listening_socket() -> tuple[socket.socket, str]:
    listening = socket.create_server(("127.0.0.1", 0))
    return listening, f"http://127.0.0.1:{listening.getsockname()[1]}"


def port_of(url: str) -> str:
    return url.rpartition(":")[2]


def free_url() -> str:
    listening, url = listening_socket()
    listening.close()
    return url


def test_wrong_settings_are_told_all_at_once_and_end_it_with_2(tmp_path: Path) -> None:
    environment = {**os.environ, "GATEWAY_PORT": "many", "GATEWAY_DRAIN_S": "long"}
    environment.pop("NATS_URL", None)
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "teambus_gateway"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 2
    lines = ended.stderr.strip().splitlines()
    assert lines[0] == "NATS_URL is not set"
    assert {line.partition("=")[0] for line in lines[1:]} == {"GATEWAY_PORT", "GATEWAY_DRAIN_S"}


async def test_a_taken_port_is_told_and_ends_it_with_2(tmp_path: Path) -> None:
    listening, url = listening_socket()
    environment = {"NATS_URL": "nats://127.0.0.1:1", "GATEWAY_PORT": port_of(url)}
    process = Process("teambus_gateway", environment, tmp_path / "gateway.log")
    with listening, pytest.raises(AssertionError, match="ended with 2 before ready"):
        await process.start()
    assert "Address already in use" in process.facts["error"]
    await process.close()


async def test_without_a_bus_it_ends_with_1_and_says_what_to_look_at(tmp_path: Path) -> None:
    environment = {"NATS_URL": "nats://127.0.0.1:1", "GATEWAY_CONNECT_TIMEOUT_S": "0.5"}
    environment["GATEWAY_PORT"] = port_of(free_url())
    process = Process("teambus_gateway", environment, tmp_path / "gateway.log")
    with pytest.raises(AssertionError, match="ended with 1 before ready"):
        await process.start()
    assert "NATS_URL" in process.tail()
    await process.close()


async def test_a_terminated_gateway_answers_those_who_wait_and_sends_others_elsewhere(
    tmp_path: Path,
) -> None:
    async with system(tmp_path, go=False) as here:
        url = free_url()
        environment = {"NATS_URL": here.nats.url, "GATEWAY_PORT": port_of(url)}
        process = Process("teambus_gateway", environment, tmp_path / "gateway.log")
        await process.start()
        async with httpx2.AsyncClient(base_url=url, timeout=20) as http:
            ready = f"http://127.0.0.1:{process.facts['management_port']}/readyz"
            assert (await http.get(ready)).json() == {"status": "ready", "reasons": {}}
            asking = asyncio.create_task(http.post("/teams/content-team/runs", data=FORM))
            await here.runner.until_taken(1)
            stopping = asyncio.create_task(process.stop())

            async def unready() -> object:
                return (await http.get(ready)).json()["reasons"]

            assert await until(unready, 5, "still ready") == {"draining": "stopping"}
            async with httpx2.AsyncClient(base_url=url) as other:
                refused = await other.post("/teams/content-team/runs", data=FORM)
            assert (refused.status_code, refused.json()["code"]) == (503, "stopping")
            assert len(here.runner.taken) == 1
            here.runner.go.set()
            assert (await asking).status_code == 200
            assert await stopping == 0
        with pytest.raises(httpx2.ConnectError):
            async with httpx2.AsyncClient(base_url=url) as other:
                await other.get("/health")


async def test_a_killed_gateway_costs_nothing_when_the_key_is_sent_again(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here:
        url = free_url()
        environment = {"NATS_URL": here.nats.url, "GATEWAY_PORT": port_of(url)}
        process = Process("teambus_gateway", environment, tmp_path / "gateway.log")
        await process.start()
        key = {"Idempotency-Key": "k"}
        async with httpx2.AsyncClient(base_url=url, timeout=20) as http:
            asking = asyncio.create_task(
                http.post("/teams/content-team/runs", data=FORM, headers=key)
            )
            await here.runner.until_taken(1)
            await process.kill()
            with pytest.raises(httpx2.TransportError):
                await asking
            here.runner.go.set()
            await process.start()
            response = await http.post("/teams/content-team/runs", data=FORM, headers=key)
        await process.close()
    assert response.status_code == 200
    assert len(here.runner.taken) == 1


async def test_it_serves_on_the_socket_it_inherits(tmp_path: Path) -> None:
    listening, url = listening_socket()
    async with system(tmp_path) as here:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "teambus_gateway"),
            env={
                **os.environ,
                "NATS_URL": here.nats.url,
                "GATEWAY_LISTEN_FD": str(listening.fileno()),
            },
            pass_fds=(listening.fileno(),),
            stderr=subprocess.DEVNULL,
        )
        listening.close()
        async with httpx2.AsyncClient(base_url=url, timeout=20) as http:
            response = await http.post("/teams/content-team/runs", data=FORM)
        process.terminate()
        assert await process.wait() == 0
    assert response.status_code == 200


@pytest.mark.parametrize("lifespan", ["on", "off"])
async def test_any_asgi_server_can_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lifespan: Literal["on", "off"]
) -> None:
    async with system(tmp_path) as here:
        monkeypatch.setenv("NATS_URL", here.nats.url)
        gateway = AsgiGateway()
        async with _anywhere(gateway, lifespan) as http:
            replies = [await http.post("/teams/content-team/runs", data=FORM) for _ in range(2)]
        await gateway.close()
    assert [reply.status_code for reply in replies] == [200, 200]


async def test_an_asgi_application_that_cannot_connect_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NATS_URL", raising=False)
    async with _anywhere(AsgiGateway(), "off") as http:
        response = await http.get("/health")
    assert (response.status_code, response.json()["detail"]) == (503, "NATS_URL is not set")


@asynccontextmanager
async def _anywhere(app: ASGIApp, lifespan: Literal["on", "off"]) -> AsyncIterator[AsyncClient]:
    """A plain uvicorn around an ASGI application."""
    listening, url = listening_socket()
    config = uvicorn.Config(app, lifespan=lifespan, log_config=None, ws="none")
    server = Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        async with httpx2.AsyncClient(base_url=url, timeout=20) as http:
            yield http
    finally:
        server.should_exit = True
        await serving
