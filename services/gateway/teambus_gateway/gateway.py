"""A gateway put together on a connected bus, however it is served."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from teambus.bus.connection import Bus
from teambus_gateway.cancelling import Cancelling
from teambus_gateway.catalogue import Catalogue
from teambus_gateway.databases import Databases
from teambus_gateway.forms import FormLimits
from teambus_gateway.lookup import Lookup
from teambus_gateway.questions import answering_questions
from teambus_gateway.routes import Parts
from teambus_gateway.runs import RunLimits, Runs
from teambus_gateway.settings import GatewaySettings


@asynccontextmanager
async def open_gateway(bus: Bus, settings: GatewaySettings) -> AsyncIterator[Parts]:
    """Read the catalogue, keep it fresh and answer on the bus while the block runs."""
    parts = _parts(bus, settings)
    await parts.catalogue.refresh()
    keeping = asyncio.create_task(parts.catalogue.keep_fresh(), name="keep the catalogue fresh")
    try:
        async with answering_questions(bus, parts, at_once_max=settings.questions_max):
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
    return Parts(
        tenant=settings.tenant,
        runs=Runs(
            bus,
            RunLimits(
                reply_timeout_s=settings.reply_timeout_s,
                look_s=settings.look_s,
                retry_after_s=settings.retry_after_s,
                waiting_max=settings.waiting_max,
            ),
        ),
        lookup=Lookup(
            bus, store_timeout_s=settings.store_timeout_s, retry_after_s=settings.retry_after_s
        ),
        cancelling=Cancelling(bus, retry_after_s=settings.retry_after_s),
        catalogue=catalogue,
        databases=Databases(
            bus,
            catalogue,
            store_timeout_s=settings.store_timeout_s,
            retry_after_s=settings.retry_after_s,
        ),
        form_limits=FormLimits(
            bytes_max=settings.request_bytes_max,
            field_bytes_max=settings.field_bytes_max,
            fields_max=settings.fields_max,
            timeout_s=settings.body_timeout_s,
        ),
    )
