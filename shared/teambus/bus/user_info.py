"""What the server says that this process may do."""

from typing import Any

import msgspec

from teambus.bus import reads
from teambus.bus.connection import Bus
from teambus.bus.permissions import WHO_AM_I
from teambus.contracts.subjects import fits


class Listed(msgspec.Struct, frozen=True):
    """Patterns; None where nothing is listed, which allows everything."""

    allow: list[str] | None = None
    deny: list[str] | None = None

    def has(self, wanted: str) -> bool:
        """Whether all that the pattern `wanted` covers is let through."""
        allowed = self.allow is None or any(covers(each, wanted) for each in self.allow)
        return allowed and not any(covers(each, wanted) for each in self.deny or ())


class Allowed(msgspec.Struct, frozen=True):
    publish: Listed = Listed()
    subscribe: Listed = Listed()


class _User(msgspec.Struct, frozen=True):
    permissions: Allowed | None = None


class _Answer(msgspec.Struct, frozen=True):
    data: _User = _User()
    error: dict[str, Any] | None = None


async def allowed(bus: Bus) -> Allowed | None:
    """None: everything. Raises `NotPermitted` when not even that may be asked."""
    reply = await reads.call(bus, WHO_AM_I, b"")
    return msgspec.json.decode(reply.data, type=_Answer).data.permissions


def covers(pattern: str, wanted: str) -> bool:
    """Whether a pattern lets through all that another does."""
    if wanted.endswith(">") and not pattern.endswith(">"):
        return False
    return fits(wanted, pattern)
