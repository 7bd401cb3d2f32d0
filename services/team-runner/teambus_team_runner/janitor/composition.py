"""The janitor put together."""

from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus
from teambus.bus.events import Events
from teambus.bus.leases import Candidacy
from teambus.bus.requests import Requests
from teambus.bus.sessions import Sessions
from teambus.contracts.ids import TeamId, new_id
from teambus.contracts.lease import JANITOR
from teambus.domain.absence import Absences
from teambus.domain.lag import LagLimits
from teambus_team_runner.holders import HolderLimits, Holders
from teambus_team_runner.janitor.giving_up import GivingUp, Limits
from teambus_team_runner.janitor.janitor import Janitor
from teambus_team_runner.janitor.lag import LagWatch
from teambus_team_runner.janitor.orphans import OrphanSweep
from teambus_team_runner.janitor.room import RoomWatch
from teambus_team_runner.janitor.unserved import ABSENT_MAX, UnservedSweep
from teambus_team_runner.line import Line
from teambus_team_runner.settings import Settings


def janitor_of(bus: Bus, settings: Settings) -> Janitor:
    """A candidate for this runner."""
    agents: set[TeamId] = set()
    name = f"{bus.settings.name}-{new_id()[:8]}"
    giving_up = _giving_up(bus, settings, agents, name)
    return Janitor(
        bus,
        Candidacy(bus, JANITOR, name, lease_s=settings.janitor_lease_s),
        UnservedSweep(
            bus,
            giving_up,
            Absences(
                gap_s=3 * settings.janitor_sweep_s + 2 * settings.janitor_lease_s,
                kept_max=ABSENT_MAX,
            ),
            settings.janitor_acts_max,
        ),
        OrphanSweep(bus, giving_up.line, settings.orphan_after_s, settings.janitor_looks_max),
        LagWatch(bus, LagLimits(settings.lag_age_max_s, settings.lag_messages_max)),
        RoomWatch(bus, settings.room_percent_max / 100),
        agents,
        settings.janitor_sweep_s,
    )


def _giving_up(bus: Bus, settings: Settings, agents: set[TeamId], name: str) -> GivingUp:
    bodies = Bodies(bus)
    events = Events(bus, bodies, source="/teambus/team-runner")
    requests = Requests(bus, bodies, "team-runner")
    sessions = Sessions(bus)
    line = Line(
        sessions,
        requests,
        events,
        waiting_max=settings.sessions_waiting_max,
        orphan_after_s=settings.orphan_after_s,
        agents=agents,
    )
    limits = Limits(settings.unserved_s, settings.journal_entries_max, settings.publish_patience_s)
    holders = Holders(bus, name, HolderLimits(settings.holder_answer_s, settings.holder_return_s))
    return GivingUp(bus, bodies, events, requests, sessions, line, holders, agents, limits)
