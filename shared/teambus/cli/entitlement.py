"""Whether an identity of the bus may do what it needs, and no more: one part of a checkup."""

from teambus.bus import catalogue, user_info
from teambus.bus.access import Access
from teambus.bus.connection import Bus
from teambus.bus.errors import NotPermitted
from teambus.bus.permissions import Rights, everybody
from teambus.bus.user_info import Allowed, covers
from teambus.cli.findings import Finding, fault, note, ok
from teambus.cli.options import UsageError

ABOUT = "permissions"
MEND = "give it what `teambus permissions` prints for the apps of this bus"
NAMED_MAX = 5


async def check_rights(bus: Bus, identity: str) -> list[Finding]:
    """What the server lets through against what the apps in the catalogue need."""
    try:
        allowed = await user_info.allowed(bus)
        if allowed is None:
            return [_of_no_limits(bus, identity)]
        wanted = await _wanted(bus, identity)
    except NotPermitted as error:
        return [fault(ABOUT, f"{identity} may not even look: {error}", MEND)]
    return _compared(wanted, allowed)


def _of_no_limits(bus: Bus, identity: str) -> Finding:
    if bus.settings.access == Access():
        return ok(ABOUT, "this bus sets no limits, and lets everybody in")
    mend = "list it with its rights; `teambus permissions` prints them"
    return note(ABOUT, f"{identity} is known to the bus and may do everything", mend)


async def _wanted(bus: Bus, identity: str) -> Rights:
    found = {rights.identity: rights for rights in everybody(await catalogue.read(bus))}
    if identity not in found:
        raise UsageError(f"nobody is called {identity!r}; there are {', '.join(sorted(found))}")
    return found[identity]


def _compared(wanted: Rights, allowed: Allowed) -> list[Finding]:
    lacking = [each for each in wanted.publish if not allowed.publish.has(each)]
    lacking += [each for each in wanted.subscribe if not allowed.subscribe.has(each)]
    more = _not_needed(allowed.publish.allow, wanted.publish)
    more += _not_needed(allowed.subscribe.allow, wanted.subscribe)
    found = []
    if lacking:
        found.append(fault(ABOUT, f"{wanted.identity} may not use {_named(lacking)}", MEND))
    if more:
        says = f"{wanted.identity} may use what it does not need: {_named(more)}"
        found.append(note(ABOUT, says, MEND))
    return found or [ok(ABOUT, f"{wanted.identity} may do what it needs, and nothing more")]


def _not_needed(listed: list[str] | None, needed: tuple[str, ...]) -> list[str]:
    """Of what is allowed. What is not listed at all is everything."""
    patterns = [">"] if listed is None else listed
    return [each for each in patterns if not any(covers(need, each) for need in needed)]


def _named(subjects: list[str]) -> str:
    rest = len(subjects) - NAMED_MAX
    more = f" and {rest} more" if rest > 0 else ""
    return ", ".join(sorted(subjects)[:NAMED_MAX]) + more
