"""Runs with files in the store: shown to the models, missing, too large, and of earlier runs."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from teambus.bus.bodies import Bodies
from teambus.contracts.media import Media
from teambus.contracts.output import ChatMessage
from teambus.domain.media import object_name, run_input
from teambus_team_runner.media import MediaLimits, StoredMedia
from teambus_team_runner.models.port import ModelError
from tests.integration.run_parts import DESK, POET, Faults, Runs, runs_in

pytestmark = pytest.mark.asyncio(loop_scope="module")

PNG = b"\x89PNG" + bytes(range(256)) * 2_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Runs]:
    async with runs_in(tmp_path_factory.mktemp("runs")) as runs:
        yield runs


@pytest_asyncio.fixture(loop_scope="module")
async def runs(shared: Runs) -> AsyncIterator[Runs]:
    await shared.model.reset()
    yield shared
    await shared.drained()


async def stored(runs: Runs, run_id: str, data: bytes = PNG, **fields: Any) -> Media:
    """A file of the run, put into the store as any NATS client would."""
    name = object_name(run_id, hashlib.sha256(data).hexdigest())
    store = await runs.bus.client.jetstream().object_store("teambus_files")
    await store.put(name, data)
    return Media(**{"id": "f-1", "kind": "image", "object": name, **fields})


async def test_every_model_call_of_a_run_is_shown_its_file(runs: Runs) -> None:
    async with runs.runner():
        image = await stored(runs, "shown", filename="a.png", format="png")
        await runs.submit("shown", media=[image])
        end = await runs.end("shown")
    assert end.output.status == "COMPLETED", end.output.content
    sha256 = hashlib.sha256(PNG).hexdigest()
    calls = await runs.model.calls()
    assert len(calls) == 4
    for call in calls:
        [seen] = call.files
        assert (seen.type, seen.mime_type, seen.sha256) == ("image_url", "image/png", sha256)
    assert end.output.input is not None
    assert end.output.input.images is not None
    assert end.output.input.images[0].media_reference is not None
    assert end.output.input.images[0].media_reference.storage_key == image.object


async def test_what_is_kept_of_a_run_has_no_bytes_of_its_files(runs: Runs) -> None:
    async with runs.runner():
        await runs.submit("small", media=[await stored(runs, "small")])
        await runs.end("small")
    everything = [*await runs.stored("TEAMBUS_JOURNAL", "teambus.v1.journal.default.small.0")]
    everything += await runs.stored("TEAMBUS_EVENTS", f"teambus.v1.event.default.{DESK}.small.*")
    assert sum(len(message.data) for message in everything) < len(PNG) / 4


async def test_a_file_that_is_not_in_the_store_ends_the_run_with_the_reason(runs: Runs) -> None:
    async with runs.runner():
        name = object_name("missing", "00ff")
        image = Media(id="f-1", kind="image", object=name, filename="cat.png")
        await runs.submit("missing", media=[image])
        end = await runs.end("missing")
    assert (end.output.status, end.code) == ("ERROR", "media_missing")
    assert "'cat.png'" in str(end.output.content)
    assert name in str(end.output.content)
    assert await runs.model.calls() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"object": "another-run/00ff"},
        {"object": None},
        {"object": None, "url": "file:///etc/passwd"},
        {"object": None, "url": "https://example.org/a.mp3", "kind": "audio"},
    ],
    ids=["another run's", "nothing", "a path", "sound by url"],
)
async def test_a_request_with_files_that_cannot_be_is_malformed(
    runs: Runs, wrong: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    run_id = f"bad-{request.node.callspec.indices['wrong']}"
    media = Media(**{"id": "f-1", "kind": "image", **wrong})
    async with runs.runner():
        await runs.submit(run_id, media=[media])
        end = await runs.end(run_id)
    assert (end.output.status, end.code) == ("ERROR", "malformed_request")
    assert "media[0]" in str(end.output.content)


async def test_files_too_large_for_one_call_end_the_run_with_the_reason(runs: Runs) -> None:
    async with runs.runner(media_call_bytes_max=len(PNG) - 1):
        await runs.submit("large", media=[await stored(runs, "large")])
        end = await runs.end("large")
    assert (end.output.status, end.code) == ("ERROR", "media_too_large")
    assert await runs.model.calls() == []


async def test_a_run_taken_over_is_shown_its_files_and_pays_nothing_again(runs: Runs) -> None:
    await runs.submit("over", media=[await stored(runs, "over")])
    async with runs.runner(Faults(["before the event"])), runs.runner():
        end = await runs.end("over")
    assert end.output.status == "COMPLETED"
    assert len(await runs.model.calls()) == 4


async def test_a_file_of_an_earlier_run_is_shown_again_or_said_to_be_gone(runs: Runs) -> None:
    async with runs.runner():
        image = await stored(runs, "earlier")
        await runs.submit("earlier", team=POET, session_id="s-files", media=[image])
        await runs.end("earlier", team=POET)
        since = await runs.last_call()
        await runs.submit("later", team=POET, session_id="s-files")
        await runs.end("later", team=POET)
        [call] = await runs.model.calls(since=since)
        assert [seen.size for seen in call.files] == [len(PNG)]
        store = await runs.bus.client.jetstream().object_store("teambus_files")
        await store.delete(str(image.object))
        since = await runs.last_call()
        await runs.submit("latest", team=POET, session_id="s-files")
        end = await runs.end("latest", team=POET)
        [call] = await runs.model.calls(since=since)
    assert (end.output.status, call.files) == ("COMPLETED", ())


def asking(*files: Media, from_history: bool = False) -> ChatMessage:
    asked = run_input("look", files)
    return ChatMessage(
        id="m",
        role="user",
        from_history=from_history,
        stop_after_tool_call=False,
        created_at=1,
        content="look",
        images=asked.images,
    )


async def test_a_call_waits_until_those_before_it_have_made_room(runs: Runs) -> None:
    bodies = Bodies(runs.bus)
    media = StoredMedia(bodies, MediaLimits(call_bytes_max=10, bytes_max=10))
    first = [asking(await stored(runs, "r-1", b"x" * 6))]
    second = [asking(await stored(runs, "r-2", b"y" * 6))]
    entered = asyncio.Event()

    async def ask() -> None:
        async with media.of(second) as contents:
            assert list(contents.values()) == [b"y" * 6]
            entered.set()

    async with media.of(first):
        waiting = asyncio.create_task(ask())
        given_up = asyncio.create_task(ask())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(entered.wait(), 0.3)
        given_up.cancel()
    await asyncio.wait_for(waiting, 10)


async def test_of_earlier_files_the_newest_that_fit_are_shown(runs: Runs) -> None:
    media = StoredMedia(Bodies(runs.bus), MediaLimits(call_bytes_max=10, bytes_max=100))
    old, new, own = [
        await stored(runs, "r-3", letter * size, id=letter.decode())
        for letter, size in ((b"o", 5), (b"n", 4), (b"w", 5))
    ]
    history = [asking(old, from_history=True), asking(new, from_history=True)]
    async with media.of([*history, asking(own)]) as contents:
        assert set(contents) == {new.object, own.object}
    with pytest.raises(ModelError) as refusal:
        async with media.of([asking(old, new, own)]):
            pass
    assert refusal.value.code == "media_too_large"
