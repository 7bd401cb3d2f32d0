"""Local mode with the real services: the demo, and a user's own program."""

import asyncio
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.support.supervised import ROOT, all_gone, below, get, until

GONE_S = 2
END_S = 150
SAMPLE = ROOT / "deploy" / "app" / "background_hooks_team.py"

pytestmark = pytest.mark.timeout(END_S + 30)


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """As a user's shell: no key, no bus, and a folder of its own for temporary data."""
    kept = {k: v for k, v in os.environ.items() if k not in ("OPENAI_API_KEY", "NATS_URL")}
    return {**kept, "TMPDIR": str(folder), **variables}


async def demo(folder: Path, *options: str, cwd: Path = ROOT) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "teambus", "demo", *options),
        env=environment(folder),
        cwd=cwd,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(END_S):
        said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_the_demo_shows_a_reply_then_its_hook_and_leaves_nothing(tmp_path: Path) -> None:
    code, said = await demo(tmp_path)
    assert code == 0, said
    reply, _, after = said.partition("in the background:\n")
    assert "a scripted model answers, because OPENAI_API_KEY is not set" in reply
    assert "COMPLETED after" in reply
    assert [line.split("  ")[-1].split()[0] for line in after.splitlines()[:2]] == ["books:"] * 2
    pids = [int(pid) for pid in re.findall(r"pid (\d+)", said)]
    assert len(pids) == 4
    assert all_gone(pids)
    assert os.listdir(tmp_path) == []


async def test_a_demo_that_cannot_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    (tmp_path / "wrong_app.py").write_text("import no_such_module_anywhere\n")
    code, said = await demo(tmp_path / "temporary", "--app", "wrong_app:app", cwd=tmp_path)
    assert code == 1
    assert "the demo failed: cannot load 'wrong_app:app'" in said
    assert "no_such_module_anywhere" in said
    assert "Traceback" not in said
    assert os.listdir(tmp_path / "temporary") == []


async def test_a_users_program_that_is_killed_takes_everything_along(tmp_path: Path) -> None:
    text = SAMPLE.read_text().replace("port=7777", "port=0")
    (tmp_path / SAMPLE.name).write_text(text)
    for taken in ("nats.py", "openai.py", "gateway.py", "asyncio_tools.py"):
        (tmp_path / taken).write_text('raise ImportError("this file is not yours to import")\n')
    program = await start(tmp_path)
    status = tmp_path / ".teambus" / "status.json"
    try:
        await until(lambda: '"gateway"' in text_of(status), 60, f"it serves: {said(tmp_path)}")
        port = int(re.findall(r'"port": (\d+)', text_of(status))[0])
        assert await get_within(port, 60) == "HTTP/1.1 200 OK"
        family = below(program.pid)
        assert len(family) >= 7
    finally:
        program.send_signal(signal.SIGKILL)
        await program.wait()
    await until(lambda: all_gone(family), GONE_S, f"gone: {family}")


async def start(folder: Path) -> asyncio.subprocess.Process:
    with (folder / "said").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, SAMPLE.name),
            env=environment(folder),
            cwd=folder,
            stdout=log,
            stderr=log,
        )


def said(folder: Path) -> str:
    return text_of(folder / "said")


def text_of(file: Path) -> str:
    return file.read_text() if file.exists() else ""


async def get_within(port: int, within_s: float) -> str:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            return await get(port)
        except ConnectionError:
            await asyncio.sleep(0.1)
    raise AssertionError(f"port {port} does not answer")
