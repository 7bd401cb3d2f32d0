"""`teambus demo`, as a newcomer starts it: without a key, without a bus."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from tests.support.program import shell
from tests.support.supervised import ROOT, all_gone

END_S = 150

pytestmark = pytest.mark.timeout(END_S + 30)


async def demo(folder: Path, *options: str, cwd: Path = ROOT) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "teambus", "demo", *options),
        env=shell(folder),
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
    scripted = [line for line in reply.splitlines() if "OPENAI_API_KEY" in line]
    assert scripted == ["a scripted model answers, because OPENAI_API_KEY is not set"]
    assert 'Together we found this about "Write a short paragraph about Python"' in reply
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
