"""`teambus dead-letters`: what was given up, and putting it back."""

import argparse
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from teambus.bus import reads
from teambus.bus.bodies import Bodies
from teambus.bus.dead_letters import LetterFacts, LetterFilter
from teambus.bus.redrive import NotRedriven, Redrives
from teambus.bus.topology import DEAD
from teambus.cli.onto_bus import SOURCE, on_bus, shown
from teambus.cli.options import UsageError
from teambus.contracts.message import encode

FAILED = 1
SWEEP = 100

Options = argparse.Namespace
Act = Callable[[Redrives, str, Options], Awaitable[int]]


async def run(options: Options, variables: Mapping[str, str]) -> int:
    """The exit status: 1 when something that was asked for was not done."""
    async with on_bus(variables) as (bus, tenant):
        redrives = Redrives(bus, Bodies(bus), source=SOURCE)
        if options.act == "redrive" and not options.ids:
            last_seq = (await reads.bounds(bus, DEAD)).last_seq
            return await _sweep(redrives, tenant, options, last_seq)
        return await ACTS[options.act](redrives, tenant, options)


async def _list(redrives: Redrives, tenant: str, options: Options) -> int:
    after, left = options.after, options.limit
    while left > 0:
        page = await redrives.letters.page(tenant, _wanted(options), after=after, limit=left)
        for letter in page.letters:
            print(_line(letter, as_json=options.json))
        left -= len(page.letters)
        if page.next is None:
            return 0
        after = page.next
    if not options.json:
        print(f"there may be more: --after {after}")
    return 0


async def _show(redrives: Redrives, tenant: str, options: Options) -> int:
    found = await redrives.letters.find(tenant, options.id)
    if found is None:
        return _none(options.id)
    print(msgspec.json.format(encode(found.letter), indent=2).decode())
    return 0


async def _redrive(redrives: Redrives, tenant: str, options: Options) -> int:
    status = 0
    for id_ in options.ids:
        try:
            done = await redrives.one(tenant, id_)
        except NotRedriven as error:
            status = _refused(error)
            continue
        if done:
            print(f"redriven: {id_}")
        else:
            status = _none(id_)
    return status


async def _sweep(redrives: Redrives, tenant: str, options: Options, until: int) -> int:
    """All that fit, but not what dies again meanwhile: that would never end."""
    wanted = _of_hooks(options)
    after: int | None = 0
    count, status = 0, 0
    while after is not None and after < until:
        sweep = await redrives.many(tenant, wanted, after=after, limit=SWEEP, until=until)
        for error in sweep.refused:
            status = _refused(error)
        count += len(sweep.redriven)
        after = sweep.next
    print(f"{count} letter{'' if count == 1 else 's'} redriven")
    return status


async def _discard(redrives: Redrives, tenant: str, options: Options) -> int:
    status = 0
    for id_ in options.ids:
        if await redrives.letters.discard(tenant, id_):
            print(f"discarded: {id_}")
        else:
            status = _none(id_)
    return status


def _of_hooks(options: Options) -> LetterFilter:
    """Raises `UsageError` where somebody may have forgotten to say which."""
    wanted = LetterFilter(
        about="hook", name=options.name, team_id=options.team, since=options.since
    )
    if not options.all and wanted == LetterFilter(about="hook"):
        raise UsageError("say which letters: their ids, or --name, --team or --since, or --all")
    return wanted


def _wanted(options: Options) -> LetterFilter:
    return LetterFilter(
        about=options.about, name=options.name, team_id=options.team, since=options.since
    )


def _line(letter: LetterFacts, *, as_json: bool) -> str:
    if as_json:
        return msgspec.json.encode(letter).decode()
    died = shown(letter.died_at)
    tries = f"{letter.attempts} attempt{'' if letter.attempts == 1 else 's'}"
    why = " ".join(letter.reason.split())
    return f"{letter.id}\n  {letter.about} {letter.name}, {died}, {tries}: {why}"


def _refused(error: NotRedriven) -> int:
    print(f"not redriven: {error.id}: {error.detail} ({error.code})")
    return FAILED


def _none(id_: str) -> int:
    print(f"no dead letter {id_!r}; it was redriven or discarded, or never was")
    return FAILED


ACTS: dict[str, Act] = {"list": _list, "show": _show, "redrive": _redrive, "discard": _discard}
