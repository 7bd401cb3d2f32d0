"""`get_app()`: the app as an ASGI callable that finds the gateway when it is first called."""

import importlib
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

if TYPE_CHECKING:
    from teambus.app.teambus import TeamBus

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

GROUP, NAME = "teambus.asgi", "gateway"


class CannotServe(RuntimeError):
    """Something this process needs to answer HTTP is missing; the text says what."""


class App:
    """What any ASGI server can run. It holds its TeamBus, so it also names the app to `serve`."""

    def __init__(self, teambus: "TeamBus") -> None:
        self.teambus = teambus
        self._gateway: Asgi | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._gateway = self._gateway or find_gateway()
        except CannotServe as error:
            if scope["type"] != "lifespan":
                raise
            await receive()
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await self._gateway(scope, receive, send)


def find_gateway() -> Asgi:
    """Load the installed gateway; raises `CannotServe` naming all that is missing."""
    # Loaded late: importing it brings in a score of standard modules, any of which a file beside
    # the user's program may be named like.
    metadata = importlib.import_module("importlib.metadata")
    entries = list(metadata.entry_points(group=GROUP, name=NAME))
    missing = []
    if not entries:
        missing.append("the gateway is not installed: pip install teambus-gateway")
    if not os.environ.get("NATS_URL"):
        missing.append(
            "NATS_URL is not set: name the NATS server, or start the app with serve(),"
            " which brings its own"
        )
    if missing:
        raise CannotServe("\n".join(missing))
    try:
        return cast("Asgi", entries[0].load())
    except (ImportError, AttributeError) as error:
        raise CannotServe(f"the gateway {entries[0].value} cannot be loaded: {error}") from error
