"""The catalogue: one entry for each app, written by `provision`, read by gateways."""

import msgspec

from teambus.bus import reads
from teambus.bus.connection import Bus
from teambus.bus.errors import TopologyMismatch
from teambus.bus.leftovers import requests
from teambus.bus.publish import Publication, publish
from teambus.bus.topology import CATALOGUE, CATALOGUE_BUCKET
from teambus.contracts.catalogue import AppDescription
from teambus.contracts.ids import new_id
from teambus.contracts.message import decode, encode

_PREFIX = f"$KV.{CATALOGUE_BUCKET}."


class _State(msgspec.Struct, frozen=True):
    last_seq: int = 0
    subjects: dict[str, int] = {}


class _Info(msgspec.Struct, frozen=True):
    state: _State = _State()


async def put(bus: Bus, app: AppDescription) -> None:
    await publish(bus, Publication(_PREFIX + app.id, encode(app), new_id()))


async def revision(bus: Bus) -> int:
    """A number that changes whenever the catalogue does."""
    return (await _state(bus, b"")).last_seq


async def read(bus: Bus) -> list[AppDescription]:
    """Every app, by id."""
    state = await _state(bus, msgspec.json.encode({"subjects_filter": f"{_PREFIX}>"}))
    apps = []
    for subject in sorted(state.subjects):
        stored = await reads.last(bus, CATALOGUE, subject)
        if stored is not None and stored.data:
            apps.append(decode(AppDescription, stored.data))
    return apps


async def check_owners(bus: Bus, app: AppDescription) -> None:
    """Raises `TopologyMismatch` when a team, agent or hook of `app` belongs to another app."""
    others = [other for other in await read(bus) if other.id != app.id]
    owners = {each.id: other.id for other in others for each in other.components}
    hooks = {hook.name: other.id for other in others for hook in other.hooks}
    taken = [f"team {t.id!r} (app {owners[t.id]!r})" for t in app.teams if t.id in owners]
    taken += [f"agent {a.id!r} (app {owners[a.id]!r})" for a in app.agents if a.id in owners]
    taken += [f"hook {h.name!r} (app {hooks[h.name]!r})" for h in app.hooks if h.name in hooks]
    if taken:
        what = f"already owned by another app: {', '.join(taken)}; rename them"
        owned = {owners[each.id] for each in app.components if each.id in owners}
        raise TopologyMismatch(what + "".join([await _renamed(bus, o) for o in sorted(owned)]))


async def _renamed(bus: Bus, owner: str) -> str:
    """An app that was given another id looks like a new one that takes the old one's teams."""
    [app] = [each for each in await read(bus) if each.id == owner]
    waiting = await requests(bus, "*")
    count = sum(waiting.get(each.id, 0) for each in app.components)
    return (
        f". If this is the app {owner!r} under a new name, keep its id with"
        f" TeamBus(id={owner!r}); requests on the bus for the runners of {owner!r}: {count}"
    )


async def _state(bus: Bus, query: bytes) -> _State:
    reply = await reads.call(bus, f"$JS.API.STREAM.INFO.{CATALOGUE}", query)
    return msgspec.json.decode(reply.data, type=_Info).state
