"""A gateway put together on a connected bus, however it is served."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus
from teambus.bus.redrive import Redrives
from teambus.contracts.media import FILES_BUCKET
from teambus.runtime.tracing import Tracer
from teambus_gateway.access.configured import admission_of
from teambus_gateway.cancelling import Cancelling
from teambus_gateway.catalogue import Catalogue
from teambus_gateway.databases import Databases
from teambus_gateway.door import Door
from teambus_gateway.lookup import Lookup
from teambus_gateway.media import MediaStore
from teambus_gateway.parts import Parts
from teambus_gateway.questions import answering_questions
from teambus_gateway.room import Room
from teambus_gateway.run_hooks import RunHooks
from teambus_gateway.runs import SOURCE, Runs
from teambus_gateway.settings import GatewaySettings
from teambus_gateway.streams import Streams


@asynccontextmanager
async def open_gateway(
    bus: Bus, settings: GatewaySettings, tracer: Tracer | None = None
) -> AsyncIterator[Parts]:
    """Read the catalogue, keep it fresh and answer on the bus while the block runs.

    Raises `SettingsError` for keys that cannot be used.
    """
    parts = replace(_parts(bus, settings), tracer=tracer)
    await parts.catalogue.refresh()
    keeping = asyncio.create_task(parts.catalogue.keep_fresh(), name="keep the catalogue fresh")
    try:
        async with (
            parts.admission.keeping_fresh(),
            answering_questions(
                bus, parts, at_once_max=settings.questions_max, until=parts.door.shut
            ),
        ):
            yield parts
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping


def _parts(bus: Bus, settings: GatewaySettings) -> Parts:
    catalogue = Catalogue(
        bus,
        poll_s=settings.catalogue_poll_s,
        reread_s=settings.catalogue_reread_s,
        retry_after_s=settings.retry_after_s,
    )
    runs = Runs(bus, settings.run_limits(), settings.feed_limits())
    return Parts(
        admission=admission_of(settings),
        runs=runs,
        lookup=Lookup(
            bus, store_timeout_s=settings.store_timeout_s, retry_after_s=settings.retry_after_s
        ),
        cancelling=Cancelling(bus, retry_after_s=settings.retry_after_s),
        streams=Streams(runs, settings.stream_limits()),
        catalogue=catalogue,
        databases=Databases(
            bus,
            catalogue,
            store_timeout_s=settings.store_timeout_s,
            retry_after_s=settings.retry_after_s,
        ),
        form_limits=settings.form_limits(),
        media_limits=settings.media_limits(),
        media=MediaStore(Bodies(bus, FILES_BUCKET), retry_after_s=settings.retry_after_s),
        room=Room(settings.uploads_bytes_max, retry_after_s=settings.retry_after_s),
        door=Door(retry_after_s=settings.retry_after_s),
        redrives=Redrives(bus, Bodies(bus), source=SOURCE),
        run_hooks=RunHooks(
            bus, calls_wait_s=settings.hook_calls_wait_s, retry_after_s=settings.retry_after_s
        ),
        retry_after_s=settings.retry_after_s,
    )
