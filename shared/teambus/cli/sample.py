"""What `demo` and `run` serve: the sample app of a checkout, and a model to answer it."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from teambus.cli.options import UsageError
from teambus.local.errors import LocalError

SAMPLE = Path("deploy/app/background_hooks_team.py")
MODEL_START_S = 20
MODEL_STOP_S = 5


@dataclass(frozen=True, slots=True)
class Model:
    """Who answers, in one line, and what the team-runner must know for it."""

    line: str
    environment: dict[str, str] = field(default_factory=dict)


def sample_app(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables, with the sample as the app unless one is named."""
    if variables.get("TEAMBUS_APP"):
        return dict(variables)
    if not SAMPLE.is_file():
        raise UsageError(
            f"there is no {SAMPLE} here; run this in a checkout, or name an app with --app"
        )
    folder = str(SAMPLE.parent.absolute())
    return {**variables, "TEAMBUS_APP": f"{SAMPLE.stem}:app", "TEAMBUS_APP_DIR": folder}


@asynccontextmanager
async def model_of(variables: Mapping[str, str]) -> AsyncIterator[Model]:
    """The real model with a key, else a scripted one that lives as long as the block."""
    if variables.get("OPENAI_API_KEY"):
        where = variables.get("OPENAI_BASE_URL") or "OpenAI"
        yield Model(f"the model at {where} answers (OPENAI_API_KEY is set)")
        return
    async with _scripted_model() as base_url:
        yield Model(
            "a scripted model answers, because OPENAI_API_KEY is not set",
            {"OPENAI_API_KEY": "scripted", "OPENAI_BASE_URL": base_url},
        )


@asynccontextmanager
async def _scripted_model() -> AsyncIterator[str]:
    watched, held = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "teambus.testing.model", "--watch-fd", str(watched)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=(watched,),
            start_new_session=True,
        )
    except BaseException:
        os.close(held)
        raise
    finally:
        os.close(watched)
    try:
        yield await _base_url(process)
    finally:
        os.close(held)
        await _end(process)


async def _base_url(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(MODEL_START_S):
            line = await process.stdout.readline()
        return str(msgspec.json.decode(line)["base_url"])
    except (TimeoutError, msgspec.MsgspecError, KeyError) as error:
        raise LocalError(
            "the scripted model did not start; is teambus[testing] installed?"
        ) from error


async def _end(process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(MODEL_STOP_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
