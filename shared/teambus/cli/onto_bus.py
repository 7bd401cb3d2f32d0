"""The bus a command works on: the one `NATS_URL` names, else the one that is served here."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from teambus.bus import identities
from teambus.bus.access import Access
from teambus.bus.connection import Bus, BusSettings, connect
from teambus.cli.options import UsageError
from teambus.contracts.ids import DEFAULT_TENANT, ID_RULE, is_id
from teambus.local import folder
from teambus.runtime.settings import read_settings

SOURCE = "/teambus/cli"


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """Which bus and whose work."""

    nats_url: tuple[str, ...] = field(metadata={"variable": "NATS_URL"})
    access: Access = field(default_factory=Access, metadata={"group": "NATS"})
    tenant: str = field(default=DEFAULT_TENANT, metadata={"variable": "TEAMBUS_TENANT"})
    publish_patience_s: float = 20


@asynccontextmanager
async def on_bus(variables: Mapping[str, str]) -> AsyncIterator[tuple[Bus, str]]:
    """The bus and the tenant. Raises `UsageError` when there is none to be found."""
    settings = read_settings(OperatorSettings, "OPERATOR", located(variables))
    if not is_id(settings.tenant):
        raise UsageError(f"{settings.tenant!r} is no tenant: {ID_RULE}")
    where = BusSettings(
        urls=settings.nats_url,
        name="operator",
        identity=identities.OPERATOR,
        access=settings.access,
        publish_patience_s=settings.publish_patience_s,
    )
    async with connect(where) as bus:
        yield bus, settings.tenant


def shown(seconds: float) -> str:
    """A time as people read it and options take it."""
    when = datetime.fromtimestamp(seconds, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def located(variables: Mapping[str, str]) -> Mapping[str, str]:
    """The variables, `NATS_URL` among them."""
    if variables.get("NATS_URL"):
        return variables
    data_dir = Path(variables.get("TEAMBUS_DATA_DIR") or ".teambus").absolute()
    said = folder.read_status(data_dir) or {}
    url = said.get("nats", {}).get("url")
    if not url:
        raise UsageError(
            f"no bus is named, and nothing is served with the data in {data_dir}; set NATS_URL, "
            "or name the folder with --data-dir"
        )
    return {**variables, "NATS_URL": url}
