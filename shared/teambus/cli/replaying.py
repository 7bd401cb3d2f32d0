"""`teambus hooks replay`: the past, told to one hook again."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping

from teambus.bus.bodies import Bodies
from teambus.bus.hook_replay import HookReplay, Pace, Said, Stretch
from teambus.bus.redrive import Redrives
from teambus.cli.onto_bus import SOURCE, on_bus, shown
from teambus.cli.options import UsageError
from teambus.contracts.catalogue import HookDescription
from teambus.contracts.ids import RunId, new_id

TOLD_EVERY = 100
SKIPPED = {
    "under way": "still being delivered",
    "asked": "asked for before under this id",
    "unreadable": "unreadable",
}


async def run(options: argparse.Namespace, variables: Mapping[str, str]) -> int:
    """Replay, or only say what would be. Raises `UsageError`."""
    async with on_bus(variables) as (bus, tenant):
        bodies = Bodies(bus)
        hooks = await Redrives(bus, bodies, source=SOURCE).hooks()
        hook = _named(hooks, options.name)
        stretch = _stretch(hook, tenant, options)
        id_ = options.id or new_id()[:8]
        replay = HookReplay(bus, bodies, hook, id_=id_, source=SOURCE)
        if options.dry_run:
            return _sum(await _counted(replay.look(stretch)), "would be delivered again")
        _say_how_to_go_on(options, stretch, id_)
        pace = Pace(per_second_max=options.rate_max, pending_max=options.pending_max)
        return _sum(await _counted(replay.make(stretch, pace)), "will be delivered again")


async def _counted(said: AsyncIterator[tuple[RunId, Said]]) -> Counter[str]:
    count: Counter[str] = Counter()
    async for _, what in said:
        count[what] += 1
        if count.total() % TOLD_EVERY == 0:
            print(f"  {count.total()} runs looked at", file=sys.stderr)
    return count


def _named(hooks: Mapping[str, HookDescription], name: str) -> HookDescription:
    if name in hooks:
        return hooks[name]
    there = ", ".join(sorted(hooks)) or "none"
    raise UsageError(f"there is no background hook {name!r}; there are: {there}")


def _stretch(hook: HookDescription, tenant: str, options: argparse.Namespace) -> Stretch:
    until = time.time() if options.until is None else options.until
    if options.since >= until:
        raise UsageError(f"--since {shown(options.since)} is not before --until {shown(until)}")
    if options.team is not None and options.team not in hook.teams:
        raise UsageError(
            f"{hook.name!r} is no hook of {options.team!r}; it is one of {', '.join(hook.teams)}"
        )
    teams = hook.teams if options.team is None else [options.team]
    return Stretch(tenant=tenant, teams=teams, since=options.since, until=until)


def _say_how_to_go_on(options: argparse.Namespace, stretch: Stretch, id_: str) -> None:
    team = f" --team {options.team}" if options.team else ""
    print(
        f"replay {id_}; if it is interrupted, go on with\n"
        f"  teambus hooks replay {options.name}{team} --since {shown(stretch.since)}"
        f" --until {shown(stretch.until)} --id {id_}",
        file=sys.stderr,
    )


def _sum(count: Counter[str], what: str) -> int:
    print(f"{count['replay']} run{'' if count['replay'] == 1 else 's'} {what}")
    for said, reason in SKIPPED.items():
        if count[said]:
            print(f"{count[said]} left out: {reason}")
    return 0
