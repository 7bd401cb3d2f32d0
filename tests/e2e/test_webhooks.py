"""A completed run reaches a receiver of webhooks, whatever dies on the way."""

import asyncio
import base64
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from tests.e2e.conftest import APPS
from tests.support.receiver import plain, receiving, stalled
from tests.support.system import system_of

pytestmark = pytest.mark.timeout(180)

SECRETS = ["whsec_" + base64.b64encode(each * 32).decode() for each in (b"n", b"o")]


async def test_each_run_is_posted_signed_though_the_receiver_fails_and_the_hook_runner_dies(
    tmp_path: Path,
) -> None:
    async with receiving(plain(500), stalled()) as receiver:
        environment = {"RECEIVER_URL": receiver.url, "BOOKS_SECRET": " ".join(SECRETS)}
        async with system_of(APPS / "webhooks.py", tmp_path, environment=environment) as system:
            run = await system.run("post this", team="desk")
            await receiver.until_told(2)
            await system.hook_runner.kill()
            others = await asyncio.gather(*(system.run(f"{n}", team="desk") for n in range(3)))
            await system.hook_runner.start()
            told = await receiver.until_told(6)
        posted = [Webhook(secret).verify(t.body, t.headers) for t in told for secret in SECRETS]
        assert {each["data"]["run_id"] for each in posted} == {
            each["run_id"] for each in (run, *others)
        }
        first = [t for t in told if t.headers["webhook-id"] == f"default:books:{run['run_id']}"]
        assert len(first) == 3, "refused, cut off, taken"
        assert {t.body for t in first} == {first[0].body}
        assert posted[0]["data"]["run"] == run, "as the reply had it"
