"""What the endpoints work with."""

from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response

from teambus.bus.redrive import Redrives
from teambus.runtime.tracing import Tracer
from teambus_gateway.access.admission import Admission
from teambus_gateway.attachments import MediaLimits
from teambus_gateway.cancelling import Cancelling
from teambus_gateway.catalogue import Catalogue
from teambus_gateway.databases import Databases
from teambus_gateway.door import Door
from teambus_gateway.forms import FormLimits
from teambus_gateway.lookup import Lookup
from teambus_gateway.media import MediaStore
from teambus_gateway.room import Room
from teambus_gateway.run_hooks import RunHooks
from teambus_gateway.runs import Runs
from teambus_gateway.streams import Streams


@dataclass(frozen=True, slots=True)
class Parts:
    """One of each, shared by all requests."""

    admission: Admission
    runs: Runs
    lookup: Lookup
    cancelling: Cancelling
    streams: Streams
    catalogue: Catalogue
    databases: Databases
    form_limits: FormLimits
    media_limits: MediaLimits
    media: MediaStore
    room: Room
    door: Door
    redrives: Redrives
    run_hooks: RunHooks
    retry_after_s: int
    tracer: Tracer | None = None


def json_reply(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
