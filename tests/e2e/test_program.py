"""A user's own program: started by its file, killed, started again, found anywhere."""

import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from teambus.bus import reads, topology
from teambus.bus.connection import BusSettings, connect
from teambus.local.ports import free_port
from teambus.testing.model import ModelServer
from tests.e2e.conftest import APPS
from tests.support import system
from tests.support.program import GONE_S, Program, program
from tests.support.supervised import all_gone, until

KEY = "OPENAI_API_KEY"
FAMILY_MIN = 8
"""The program, its supervisor, nats-server and its keeper, three services, the hooks' process."""

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def variables(tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """A port, a scripted model, and no long wait for what a killed process held."""
    async with ModelServer() as model:
        yield {
            "PORT": str(free_port("127.0.0.1")),
            KEY: "scripted",
            "OPENAI_BASE_URL": model.base_url,
            "TOPOLOGY_ACK_WAIT_S": "2",
        }


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The program in a folder of its own, beside files that are named like what others import."""
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.copy(APPS / "their_app.py", folder)
    for taken in ("nats.py", "openai.py", "gateway.py"):
        (folder / taken).write_text('raise ImportError("this file is not yours to import")\n')
    return folder


async def test_a_killed_program_takes_everything_along_and_started_again_delivers_its_hook(
    home: Path, variables: dict[str, str]
) -> None:
    async with program(sys.executable, "their_app.py", folder=home, **variables) as first:
        answer = await first.post("then kill it")
        family = first.family()
        await first.end(signal.SIGKILL)
    assert answer.status_code == 200, answer.text
    run_id = answer.json()["run_id"]
    await until(lambda: all_gone(family), GONE_S, f"gone: {family}")
    assert len(family) >= FAMILY_MIN
    assert ended_hooks(home) == []
    assert (home / "tmp" / "team.db").exists()

    async with program(sys.executable, "their_app.py", folder=home, **variables) as second:
        assert second.status()["port"] == int(variables["PORT"])
        await until(lambda: ended_hooks(home), 30, f"the hook; {second.said()}")
        await nothing_left(second)
        family = second.family()
        assert await second.end(signal.SIGTERM) == 0, second.said()
    assert ended_hooks(home) == [run_id]
    await until(lambda: all_gone(family), GONE_S, f"gone: {family}")


async def test_a_program_may_be_started_from_any_folder(
    home: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = (sys.executable, str(home / "their_app.py"))
    async with program(*command, folder=elsewhere, **variables) as started:
        answer = await started.post("from elsewhere")
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "COMPLETED"
        assert await started.end(signal.SIGINT) == 0, started.said()
    assert {"tmp", ".teambus"} <= set(os.listdir(elsewhere))
    assert {"tmp", ".teambus"}.isdisjoint(os.listdir(home))


async def test_a_program_without_a_key_warns_once_and_its_runs_end_as_errors(
    home: Path, variables: dict[str, str]
) -> None:
    keyless = {name: value for name, value in variables.items() if name != KEY}
    async with program(sys.executable, "their_app.py", folder=home, **keyless) as started:
        warnings = [line for line in started.said().splitlines() if KEY in line]
        answer = await started.post("without a key")
    assert len(warnings) == 1, warnings
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "ERROR"
    assert KEY in answer.json()["content"]


def ended_hooks(home: Path) -> list[str]:
    """The runs whose hook has ended."""
    log = home / "hook.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [line.split()[1] for line in lines if line.startswith("ended")]


async def nothing_left(program: Program) -> None:
    """Every request, delivery and hook is settled, and none as a dead letter."""
    async with connect(BusSettings((program.status()["nats"]["url"],), "test")) as bus:

        async def ask(question: str) -> dict[str, Any]:
            reply = await reads.call(bus, f"$JS.API.{question}", b"")
            answer: dict[str, Any] = msgspec.json.decode(reply.data)
            return answer

        async def settled() -> bool:
            requests = await ask(f"STREAM.INFO.{topology.REQUESTS}")
            hooks = await ask(f"CONSUMER.LIST.{topology.EVENTS}")
            left = [each["num_pending"] + each["num_ack_pending"] for each in hooks["consumers"]]
            return requests["state"]["messages"] == 0 and left == [0]

        await system.until(settled, 10, "requests or deliveries are left")
        dead = await ask(f"STREAM.INFO.{topology.DEAD}")
        assert dead["state"]["messages"] == 0
