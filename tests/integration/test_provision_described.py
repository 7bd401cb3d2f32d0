"""Provisioning by a description does what provisioning by the app does, without its code."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from teambus.bus import catalogue, survey, topology
from teambus.bus.connection import Bus, BusSettings, connect
from teambus.bus.reads import call
from teambus.local.nats_server import NatsServer

APPS = Path(__file__).parents[1] / "e2e" / "apps"
COMMAND_S = 50


async def teambus(*arguments: str, **environment: str) -> str:
    """What the command prints; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "teambus", *arguments),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(COMMAND_S):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


async def configured(bus: Bus) -> dict[str, Any]:
    """The configuration of every stream and consumer, but for the server's own notes."""
    listed = msgspec.json.decode((await call(bus, "$JS.API.STREAM.LIST", b"")).data)
    found = {each["config"]["name"]: each["config"] for each in listed["streams"]}
    for stream in (topology.REQUESTS, topology.EVENTS, topology.REDRIVE):
        for each in await survey.consumers(bus, stream):
            verb = f"$JS.API.CONSUMER.INFO.{stream}.{each.name}"
            info = msgspec.json.decode((await call(bus, verb, b"")).data)
            found[f"{stream} {each.name}"] = info["config"]
    return found


async def test_a_description_makes_the_same_streams_and_consumers_as_its_app(
    tmp_path: Path,
) -> None:
    app = ("--app", "hooks", "--app-dir", str(APPS))
    described = str(tmp_path / "app.json")
    made = []
    for name in ("app", "description"):
        async with NatsServer(tmp_path / name) as nats:
            if name == "app":
                await teambus("provision", *app, NATS_URL=nats.url, TEST_FOLDER=str(tmp_path))
            else:
                await teambus("describe", *app, "--out", described, TEST_FOLDER=str(tmp_path))
                # An app that is named too is not looked at: this one cannot be loaded.
                await teambus(
                    *("provision", "--description", described),
                    NATS_URL=nats.url,
                    TEAMBUS_APP="not_there",
                )
            async with connect(BusSettings((nats.url,), "test")) as bus:
                made.append((await configured(bus), await catalogue.read(bus)))
    assert made[0] == made[1]
    assert len(made[0][0]) > len(topology.streams(topology.TopologySettings()))
    assert [each.id for each in made[0][1]] == ["hooks"]


async def test_streams_alone_are_made_for_apps_that_come_later(tmp_path: Path) -> None:
    async with NatsServer(tmp_path / "nats") as nats:
        said = await teambus("provision", "--streams-only", NATS_URL=nats.url)
        async with connect(BusSettings((nats.url,), "test")) as bus:
            made = await configured(bus)
    assert said == "the streams are provisioned\n"
    documents = topology.streams(topology.TopologySettings())
    assert sorted(made) == sorted(each["name"] for each in documents)


async def test_several_apps_are_provisioned_in_one_go(tmp_path: Path) -> None:
    for name in ("shop", "news"):
        agent = f"Agent(id='{name}-desk', name='Ann', model=OpenAIChat(id='gpt-5.2'))"
        text = f"from teambus import Agent, OpenAIChat, TeamBus\napp = TeamBus(agents=[{agent}])\n"
        (tmp_path / f"{name}.py").write_text(text)
        app = ("--app", name, "--app-dir", str(tmp_path))
        await teambus("describe", *app, "--out", str(tmp_path / f"{name}.json"))
    files = [f"--description={tmp_path / name}.json" for name in ("shop", "news")]
    async with NatsServer(tmp_path / "nats") as nats:
        await teambus("provision", *files, NATS_URL=nats.url)
        async with connect(BusSettings((nats.url,), "test")) as bus:
            assert [each.id for each in await catalogue.read(bus)] == ["news", "shop"]
