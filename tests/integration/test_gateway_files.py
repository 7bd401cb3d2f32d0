"""Files over HTTP: in the store before their run is asked for, or the run is not asked for."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from teambus.bus import topology
from teambus.bus.bodies import Bodies
from teambus.bus.errors import BusUnavailable, StreamFull
from teambus.contracts.media import FILES_BUCKET
from teambus.contracts.run import RunRequest
from teambus_gateway.parts import Parts
from tests.integration.gateway_parts import Served, System, system
from tests.support.system import until

RUNS = "/teams/content-team/runs"
MIB = 1024 * 1024
PICTURE = b"\x89PNG" + bytes(range(256)) * 8_000


async def upload(
    gateway: Served, *files: tuple[str, bytes, str], key: str | None = None, **fields: str
) -> httpx2.Response:
    form = {"message": "look", "stream": "false", **fields}
    headers = {} if key is None else {"Idempotency-Key": key}
    parts = [("files", file) for file in files]
    return await gateway.http.post(RUNS, data=form, files=parts, headers=headers)


async def content(here: System, request: RunRequest, at: int = 0) -> bytes:
    name = request.media[at].object
    assert name is not None
    files = Bodies(here.bus, FILES_BUCKET)
    entry = await files.find(name)
    assert entry is not None, f"{name} is not stored"
    return await files.read(entry)


async def test_files_are_stored_whole_and_the_request_names_them(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        encoded = base64.b64encode(b"RIFF sound").decode()
        answer = await upload(
            gateway,
            ("p.png", PICTURE, "image/png"),
            ("a.pdf", b"%PDF", "application/pdf"),
            files_metadata='[{"page": 1}]',
            audio=json.dumps([{"content": encoded, "format": "wav"}]),
        )
        assert answer.status_code == 200, answer.text
        [request] = here.runner.taken
        assert [each.kind for each in request.media] == ["image", "file", "audio"]
        assert [await content(here, request, at) for at in range(3)] == [
            PICTURE,
            b"%PDF",
            b"RIFF sound",
        ]
    first = request.media[0]
    assert first.object == f"{request.run_id}/{hashlib.sha256(PICTURE).hexdigest()}"
    assert (first.filename, first.size, first.metadata) == ("p.png", len(PICTURE), {"page": 1})


async def test_a_request_is_published_only_once_its_files_are_stored(tmp_path: Path) -> None:
    """The stand-in looks into the store the moment it is given the request."""
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        asking = asyncio.create_task(upload(gateway, ("p.png", PICTURE, "image/png")))
        await here.runner.until_taken(1)
        assert await content(here, here.runner.taken[0]) == PICTURE
        here.runner.go.set()
        assert (await asking).status_code == 200


class Stopping(Bodies):
    """The process is gone, or the bus is, when so many bodies have been put."""

    def __init__(self, bodies: Bodies, after: int, error: BaseException) -> None:
        super().__init__(bodies._bus, FILES_BUCKET)
        self.left = after
        self.error = error

    async def put(self, name: str, data: bytes | memoryview, sha256: bytes) -> None:
        if self.left == 0:
            raise self.error
        self.left -= 1
        await super().put(name, data, sha256)


def stop_after(parts: Parts, count: int, error: BaseException) -> None:
    parts.media.bodies = Stopping(parts.media.bodies, count, error)


@pytest.mark.parametrize("stored", [0, 1])
async def test_a_process_that_dies_among_the_files_leaves_no_half_done_run(
    tmp_path: Path, stored: int
) -> None:
    """The next try of the same request, at another gateway, is the run."""
    files = (("p.png", PICTURE, "image/png"), ("q.png", b"\x89PNG", "image/png"))
    async with system(tmp_path) as here:
        async with here.gateway() as gateway:
            stop_after(gateway.parts, stored, RuntimeError("the process is gone"))
            assert (await upload(gateway, *files, key="k")).status_code == 500
            assert here.runner.taken == []
        async with here.gateway() as gateway:
            assert (await upload(gateway, *files, key="k")).status_code == 200
        [request] = here.runner.taken
        assert await content(here, request, 0) == PICTURE


async def test_a_store_that_does_not_take_the_files_is_said_before_any_run(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        for error, code in (
            (BusUnavailable("away"), "bus_unavailable"),
            (StreamFull("no room", 10077), "files_full"),
        ):
            stop_after(gateway.parts, 0, error)
            answer = await upload(gateway, ("p.png", PICTURE, "image/png"))
            assert (answer.status_code, answer.json()["code"]) == (503, code)
            assert answer.headers["retry-after"]
        assert here.runner.taken == []


async def test_a_repeat_with_the_same_file_is_the_same_run(tmp_path: Path) -> None:
    picture, other = ("p.png", PICTURE, "image/png"), ("p.png", PICTURE + b"!", "image/png")
    async with system(tmp_path) as here, here.gateway() as gateway, here.gateway() as elsewhere:
        first = await upload(gateway, picture, key="k")
        again = await upload(elsewhere, picture, key="k")
        assert (first.status_code, again.json()) == (200, first.json())
        changed = await upload(gateway, other, key="k")
        assert (changed.status_code, changed.json()["code"]) == (409, "idempotency_key_reused")
        without = await upload(gateway, key="k")
        assert without.status_code == 409
        assert len(here.runner.taken) == 1


async def test_what_is_too_large_is_refused_and_nothing_is_stored(tmp_path: Path) -> None:
    limits: dict[str, Any] = {
        "request_bytes_max": 3 * MIB,
        "file_bytes_max": 2 * MIB,
        "files_max": 2,
    }
    async with system(tmp_path) as here, here.gateway(**limits) as gateway:
        whole = await upload(gateway, ("p.png", b"x" * 4 * MIB, "image/png"))
        one = await upload(gateway, ("p.png", b"x" * (2 * MIB + 1), "image/png"))
        many = await upload(gateway, *[("p.png", b"x", "image/png")] * 3)
        fits = await upload(gateway, ("p.png", b"x" * 2 * MIB, "image/png"))
    refusals = [(each.status_code, each.json()["code"]) for each in (whole, one, many)]
    assert refusals == [
        (413, "request_too_large"),
        (413, "file_too_large"),
        (413, "too_many_files"),
    ]
    assert fits.status_code == 200
    assert len(here.runner.taken) == 1


async def test_uploads_over_the_room_of_the_process_are_refused_and_the_room_comes_back(
    tmp_path: Path,
) -> None:
    arriving = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"message=" + b"x" * MIB
        await arriving.wait()
        yield b"&stream=false"

    form = {"Content-Type": "application/x-www-form-urlencoded"}
    async with system(tmp_path) as here, here.gateway(uploads_bytes_max=2 * MIB) as gateway:
        room = gateway.parts.room
        first = asyncio.create_task(gateway.http.post(RUNS, content=slowly(), headers=form))

        async def is_held() -> bool:
            return room.held > MIB

        await until(is_held, 10, "the first upload never came")
        second = await upload(gateway, ("p.png", b"x" * MIB, "image/png"))
        assert (second.status_code, second.json()["code"]) == (503, "too_many_uploads")
        assert second.headers["retry-after"]
        arriving.set()
        assert (await first).status_code == 200
        assert room.held == 0
        third = await upload(gateway, ("p.png", b"x" * MIB, "image/png"))
        assert third.status_code == 200


async def test_a_refusal_is_heard_by_a_client_that_sends_all_before_it_reads(
    tmp_path: Path,
) -> None:
    body = b"message=hi&stream=false&session_state=" + b"x" * 6 * MIB
    async with system(tmp_path) as here, here.gateway(uploads_bytes_max=MIB) as gateway:
        host, _, port = gateway.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"POST {RUNS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            "content-type: application/x-www-form-urlencoded\r\n"
            f"content-length: {len(body)}\r\n\r\n".encode()
        )
        for at in range(0, len(body), 64 * 1024):
            writer.write(body[at : at + 64 * 1024])
            await writer.drain()
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b'"code":"too_many_uploads"' in answer
        assert gateway.parts.room.held == 0


async def test_a_run_that_is_waited_for_takes_no_room(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        asking = asyncio.create_task(upload(gateway, ("p.png", PICTURE, "image/png")))
        await here.runner.until_taken(1)
        assert gateway.parts.room.held == 0
        here.runner.go.set()
        assert (await asking).status_code == 200


async def test_uploads_that_fill_their_store_are_refused_and_runs_without_files_are_not(
    tmp_path: Path,
) -> None:
    async with system(tmp_path, files_bytes_max=3 * MIB) as here, here.gateway() as gateway:
        fits = await upload(gateway, ("p.png", b"x" * 2 * MIB, "image/png"))
        full = await upload(gateway, ("p.png", b"y" * 2 * MIB, "image/png"))
        assert (full.status_code, full.json()["code"]) == (503, "files_full")
        assert full.headers["retry-after"]
        assert "no room for files" in full.json()["detail"]
        assert (await gateway.post()).status_code == 200
        assert (await gateway.post("x" * 2 * MIB)).status_code == 200
        # What was written of the refused one before there was no room is not in the way.
        assert (await upload(gateway, ("p.png", b"z" * (MIB // 2), "image/png"))).status_code == 200
        assert fits.status_code == 200


@pytest.mark.parametrize("stream", ["true", "false"])
@pytest.mark.parametrize(("key", "kept"), [(None, 0), ("k", 1)])
async def test_files_of_a_request_that_is_turned_away_are_kept_only_if_it_can_come_again(
    tmp_path: Path, key: str | None, kept: int, stream: str
) -> None:
    async with system(tmp_path, work=False, requests_per_team_max=1) as here:
        async with here.gateway() as gateway:
            assert (await gateway.post(background="true")).status_code == 202
            file = ("p.png", PICTURE, "image/png")
            refused = await upload(gateway, file, key=key, stream=stream)
            assert refused.status_code == 429
        names = await here.stored(topology.FILES, f"$O.{FILES_BUCKET}.M.>")
        chunks = await here.stored(topology.FILES, f"$O.{FILES_BUCKET}.C.>")
    assert len(names) == kept
    assert bool(chunks) is bool(kept)
