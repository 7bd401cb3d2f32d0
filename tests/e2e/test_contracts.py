"""What is really said on the bus is what the documents for other languages say of it."""

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jsonschema
import nats
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_binary_event
from nats.aio.msg import Msg

from teambus.bus.bodies import Bodies
from teambus.contracts.ids import new_id
from tests.support.node import installed
from tests.support.supervised import ROOT
from tests.support.system import System, until

COMMITTED = ROOT / "shared" / "contracts"
CHECK = ROOT / "tests" / "contract" / "asyncapi"
DOCUMENT: dict[str, Any] = json.loads((COMMITTED / "asyncapi.json").read_text())
CHECK_S = 60
HEARD_S = 20
REQUESTS = "teambus.v1.request.default.content-team.std"
NOT_OURS = ("$JS.", "$SYS.", "_INBOX.", "$O.")

pytestmark = [pytest.mark.timeout(420), pytest.mark.asyncio(loop_scope="module")]


def resolved(reference: dict[str, str]) -> Any:
    found: Any = DOCUMENT
    for part in reference["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def pattern(address: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^.]+", re.escape(address)))


def message_at(subject: str) -> dict[str, Any]:
    """What the document says is said on a subject."""
    channels = [
        channel
        for channel in DOCUMENT["channels"].values()
        if channel["address"] is not None and pattern(channel["address"]).fullmatch(subject)
    ]
    assert len(channels) == 1, f"{subject}: {len(channels)} channels"
    [message] = channels[0]["messages"].values()
    found: dict[str, Any] = resolved(message)
    return found


def check(schema: dict[str, Any], value: Any) -> None:
    whole = {"allOf": [schema], "components": DOCUMENT["components"]}
    formats = jsonschema.Draft7Validator.FORMAT_CHECKER
    jsonschema.Draft7Validator(whole, format_checker=formats).validate(value)


@asynccontextmanager
async def listening(story: System) -> AsyncIterator[list[Msg]]:
    """Every message of teambus, whoever sends it to whom, but for answers to inboxes."""
    heard: list[Msg] = []

    async def note(message: Msg) -> None:
        if not message.subject.startswith(NOT_OURS):
            heard.append(message)

    client = await nats.connect(story.nats.url)
    await client.subscribe(">", cb=note)
    await client.flush()
    try:
        yield heard
    finally:
        await client.close()


async def everything_said(story: System, heard: list[Msg]) -> None:
    """A run with its hook, one that says what it does, another request under its id, a question,
    a request that nobody can read, and the hook told again.
    """
    said = await story.run(key="contracts", message="Say everything", session_id="s-1")
    await story.hook_lines(1, containing=said["run_id"])
    asked = {"team_id": "content-team", "run_id": said["run_id"]}
    for verb in ("run.wait", "run.cancel"):
        question = json.dumps(asked).encode()
        await story.bus.client.request(f"teambus.v1.api.default.{verb}", question, timeout=10)
    await story.model.rules([{"match": "slowly", "hold": "gate", "times": 1}])
    slow = {"kind": "run.request.v1", "run_id": new_id(), "input": "slowly", "stream": True}
    for request in (slow, slow | {"input": "something else"}):
        await story.bus.client.publish(REQUESTS, json.dumps(request).encode())
    await story.bus.client.publish(REQUESTS, b"{")
    await until_heard(heard, ".refused", ".dead.")
    await story.model.release("gate")
    await until_heard(heard, f".live.default.{slow['run_id']}.completed", ".frame.batch")
    assert (await story.teambus("hooks", "replay", "note-run", "--since", "1h"))[0] == 0
    await story.client.get(f"/teams/content-team/runs/{said['run_id']}/hooks")
    await until_heard(heard, ".redrive.")


async def until_heard(heard: list[Msg], *parts: str) -> None:
    async def all_there() -> bool:
        return all(any(part in message.subject for message in heard) for part in parts)

    await until(all_there, HEARD_S, lambda: f"heard {sorted({m.subject for m in heard})}")


async def test_all_that_is_heard_on_the_bus_is_as_described(lasting_story: System) -> None:
    async with listening(lasting_story) as heard:
        await lasting_story.provision()
        await everything_said(lasting_story, heard)
    bodies = Bodies(lasting_story.bus)
    for message in heard:
        headers = dict(message.headers or {})
        described = message_at(message.subject)
        check(described["headers"], headers)
        if message.data != b"{":
            check(described["payload"], json.loads(await bodies.load(message.data, headers)))
    roots = {message.subject.split(".")[2] for message in heard}
    assert roots >= {
        "request",
        "event",
        "live",
        "journal",
        "session",
        "open",
        "hook",
        "redrive",
        "dead",
        "api",
    }


async def test_the_events_are_cloud_events_to_their_sdk(lasting_story: System) -> None:
    async with listening(lasting_story) as heard:
        output = await lasting_story.run(run_id=new_id())
        await until_heard(heard, *(f".{said}.default." for said in ("request", "event", "hook")))
    parsed = {}
    for message in heard:
        if "ce-id" in (message.headers or {}):
            said = HTTPMessage(headers=dict(message.headers or {}), body=message.data)
            event = from_binary_event(said)
            parsed[event.get_type()] = event
    completed = parsed["dev.teambus.run.completed.v1"]
    assert completed.get_id() == f"default:content-team:{output['run_id']}:completed"
    assert completed.get_source() == "/teambus/team-runner"
    assert completed.get_specversion() == "1.0"
    assert completed.get_datacontenttype() == "application/json"
    assert completed.get_time() is not None
    data: Any = completed.get_data()
    assert data["output"]["content"] == output["content"]
    assert parsed.keys() >= {"dev.teambus.run.requested.v1", "dev.teambus.hook.outcome.v1"}


async def test_the_asyncapi_document_is_valid_to_the_parser_of_its_authors(
    request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = getattr(request.config, "cache", None)
    kept = cache.mkdir("node") if cache else tmp_path_factory.mktemp("node")
    program = await asyncio.to_thread(installed, CHECK, kept)
    wrong = json.loads((COMMITTED / "asyncapi.json").read_text())
    wrong["operations"]["request"]["channel"] = {"$ref": "#/channels/nowhere"}
    wrong["channels"]["frame"]["parameters"] = 5
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    paths = [str(COMMITTED / "asyncapi.json"), str(tmp_path / "wrong.json")]
    asked = await asyncio.to_thread(
        subprocess.run,
        ["node", str(program / "check.mjs"), *paths],
        capture_output=True,
        text=True,
        timeout=CHECK_S,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    found = json.loads(asked.stdout)
    channels = len(DOCUMENT["channels"])
    assert found[paths[0]] == {"version": "3.0.0", "channels": channels, "wrong": []}
    assert found[paths[1]]["wrong"] != []
