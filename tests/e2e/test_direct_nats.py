"""Runs asked for with a NATS library and nothing else, as the README tells."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from teambus.contracts.ids import new_id
from tests.support.node import installed
from tests.support.supervised import ROOT
from tests.support.system import System

CLIENTS = Path(__file__).parent / "clients"
README = ROOT / "README.md"
CALLS_OF_A_RUN = 4
CLIENT_S = 90
MESSAGE_BYTES_MAX = 1024 * 1024

pytestmark = [pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture(params=["nats-py", "node"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of a client."""
    if request.param == "nats-py":
        return [sys.executable, "-I", str(CLIENTS / "direct.py")]
    cache = getattr(request.config, "cache", None)
    kept = cache.mkdir("node") if cache else tmp_path_factory.mktemp("node")
    return ["node", str(installed(CLIENTS, kept) / "direct.mjs")]


@pytest.fixture
def snippet(tmp_path: Path) -> list[str]:
    """The command of the client that the README shows."""
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.M | re.S)
    [program] = [block for block in blocks if "import nats" in block]
    (tmp_path / "ask.py").write_text(program)
    return [sys.executable, "-I", str(tmp_path / "ask.py")]


async def printed(story: System, *command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, "NATS_URL": story.nats.url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(CLIENT_S):
        said, wrong = await process.communicate()
    assert process.returncode == 0, wrong.decode()
    return said.decode()


async def test_a_nats_library_is_enough_to_ask_and_to_be_answered(
    lasting_story: System, client: list[str]
) -> None:
    story, run_id, started_id = lasting_story, new_id(), new_id()
    calls_before = len(await story.model.calls())
    said: dict[str, Any] = json.loads(await printed(story, *client, run_id, started_id))

    first, again = said["first"], said["again"]
    assert (first["stream"], first["duplicate"]) == ("TEAMBUS_REQUESTS", False)
    assert again == {**first, "duplicate": True}
    assert said["live_subject"] == f"teambus.v1.live.default.{run_id}.completed"
    subject = f"teambus.v1.event.default.content-team.{run_id}.completed"
    assert said["live_headers"]["Nats-Subject"] == subject
    assert said["live"] == said["direct"] == said["stored"]
    event = said["live"]
    assert event["kind"] == "run.completed.v1"
    assert event["output"]["status"] == "COMPLETED"
    assert '"ask directly"' in event["output"]["content"]

    start, wait = said["start"], said["wait"]
    assert start["error_code"] is None
    assert start["body"]["run_id"] == started_id
    assert start["body"]["event_subject"] == subject.replace(run_id, started_id)
    assert said["start_again"]["error_code"] is None
    assert wait["error_code"] is None
    assert wait["body"]["output"]["status"] == "COMPLETED"
    assert wait["body"]["session_id"] == start["body"]["session_id"]
    assert said["unknown"] == {"error_code": "404", "body": {"detail": "Team not found"}}

    assert len(await story.model.calls()) - calls_before == 2 * CALLS_OF_A_RUN
    for each in (run_id, started_id):
        assert [end.run_id for end in await story.every_completed()].count(each) == 1
        assert len(await story.hook_lines(1, containing=each)) == 1


async def test_the_readmes_client_prints_the_answer(
    lasting_story: System, snippet: list[str]
) -> None:
    said = await printed(lasting_story, *snippet, "What is a bus?")
    assert said.startswith("COMPLETED\n"), said
    assert 'Together we found this about "What is a bus?"' in said


async def test_the_readmes_client_reads_an_answer_that_fits_no_message(
    lasting_story: System, snippet: list[str]
) -> None:
    rule = {"match": "Say a lot", "reply": "long " * 300_000}
    await lasting_story.model.rules([rule])
    said = await printed(lasting_story, *snippet, "Say a lot")
    assert said.startswith("COMPLETED\n"), said[:200]
    assert len(said) > MESSAGE_BYTES_MAX
