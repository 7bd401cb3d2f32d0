"""What an app leaves on the bus when it stops declaring something: deliveries, requests.

Nothing of it is dropped unless that was asked for: a hook that is missing by mistake would lose
what it was promised.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

from teambus.bus import catalogue, server_api, topology
from teambus.bus.connection import Bus
from teambus.contracts import subjects
from teambus.contracts.catalogue import AppDescription
from teambus.contracts.ids import HookName
from teambus.contracts.subjects import EventSubject, RequestSubject

PRUNE = "`teambus provision --prune`"


@dataclass(frozen=True, slots=True)
class FormerHook:
    """A hook that the app had. `waiting` are runs it was not told of yet, `begun` those it was
    called for without an end, `redriven` those it was to be told of again.
    """

    hook: str
    app: str
    waiting: int
    begun: int
    dropped: bool
    redriven: int = 0

    def __str__(self) -> str:
        what = f"waiting: {self.waiting}, in hand or to be retried: {self.begun}"
        if self.redriven:
            what += f", redriven: {self.redriven}"
        if self.dropped:
            return f"the hook {self.hook!r} is gone, and its deliveries with it ({what})"
        return (
            f"the app {self.app!r} has no hook {self.hook!r} any more; the bus keeps its deliveries"
            f" ({what}). Give a hook this name again to deliver them, or drop them with {PRUNE}"
        )


@dataclass(frozen=True, slots=True)
class FormerTeams:
    """A hook that is not on some teams or agents any more, of which runs wait for it."""

    hook: str
    patterns: tuple[str, ...]
    waiting: int
    dropped: bool = False

    @property
    def teams(self) -> str:
        return ", ".join(EventSubject.parse(each).team_id for each in self.patterns)

    def __str__(self) -> str:
        off = f"the hook {self.hook!r} is not on {self.teams} any more"
        if self.dropped:
            return f"{off}, and its deliveries from there are gone (waiting: {self.waiting})"
        return (
            f"{off}, but has deliveries from there (waiting: {self.waiting}). It goes on hearing of"
            f" {self.teams} until you provision again when none wait, or drop them with {PRUNE}"
        )


@dataclass(frozen=True, slots=True)
class Unserved:
    """Requests for a team or agent that no app has."""

    id: str
    requests: int

    def __str__(self) -> str:
        return (
            f"no app has a team or agent {self.id!r}, but requests for it are on the bus, which"
            f" wait for nobody: {self.requests}. Serve it again to have them run; else the janitor"
            " ends them in time"
        )


Leftover: TypeAlias = FormerHook | FormerTeams | Unserved


async def former_hooks(bus: Bus, app: AppDescription, *, prune: bool) -> list[Leftover]:
    """Consumers of this app's hooks that it does not declare; dropped if so wished."""
    declared = {topology.hook_consumer_name(hook) for hook in app.hooks}
    found: list[Leftover] = []
    for each in await server_api.consumers(bus, topology.EVENTS):
        owner = each["config"].get("metadata") or {}
        if owner.get(topology.OWNER) != app.id or each["name"] in declared:
            continue
        hook = owner[topology.HOOK]
        redriven = await _former_redrives(bus, app, hook, each["name"], prune=prune)
        if prune:
            await server_api.delete_consumer(bus, topology.EVENTS, each["name"])
        waiting, begun = each["num_pending"], each["num_ack_pending"]
        found.append(FormerHook(hook, app.id, waiting, begun, prune, redriven))
    return found


async def _former_redrives(
    bus: Bus, app: AppDescription, hook: HookName, consumer: str, *, prune: bool
) -> int:
    """How much was to be delivered again to a hook that is gone.

    It stays without its consumer, which would keep another app from having a hook of this name.
    Once one has, it is that app's.
    """
    await server_api.delete_consumer(bus, topology.REDRIVE, consumer)
    others = [other for other in await catalogue.read(bus) if other.id != app.id]
    if any(each.name == hook for other in others for each in other.hooks):
        return 0
    subject = subjects.redrive("*", hook)
    counted = await server_api.counts(bus, topology.REDRIVE, subject)
    if prune:
        await server_api.ask(bus, f"STREAM.PURGE.{topology.REDRIVE}", {"filter": subject})
    return sum(counted.values())


async def former_teams(
    bus: Bus, document: dict[str, Any], current: dict[str, Any]
) -> FormerTeams | None:
    """What the hook's consumer would skip if it became like `document`.

    What it has begun is not in it: that comes again whatever the consumer hears.
    """
    kept = set(document["filter_subjects"])
    left = tuple(each for each in topology.filters(current["config"]) if each not in kept)
    if not left:
        return None
    start = current["delivered"]["stream_seq"] + 1
    waiting = await server_api.pending(bus, topology.EVENTS, list(left), start=start)
    return FormerTeams(document["metadata"][topology.HOOK], left, waiting) if waiting else None


async def unserved(bus: Bus, apps: list[AppDescription]) -> list[Leftover]:
    """Requests that none of `apps`, which are all there are, would ever take."""
    served = {each.id for app in apps for each in app.components}
    waiting = await requests(bus, "*")
    return [Unserved(id_, count) for id_, count in sorted(waiting.items()) if id_ not in served]


async def requests(bus: Bus, component: str) -> dict[str, int]:
    """How many requests are on the bus for a team or agent, those under way among them."""
    pattern = subjects.request("*", component, "*")
    found: dict[str, int] = {}
    for subject, count in (await server_api.counts(bus, topology.REQUESTS, pattern)).items():
        asked = RequestSubject.parse(subject).team_id
        found[asked] = found.get(asked, 0) + count
    return found
