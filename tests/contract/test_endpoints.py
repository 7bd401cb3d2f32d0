"""The questions that services answer on the bus are those that are described."""

from contextlib import asynccontextmanager
from typing import Any, cast

from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus, BusSettings
from teambus.contracts.endpoints import ENDPOINTS
from teambus.runtime.hands import Hands
from teambus_gateway.parts import Parts
from teambus_gateway.questions import answering_questions
from teambus_hook_runner.calling import Calling, saying_what_is_called
from teambus_team_runner.answers import Answers
from teambus_team_runner.checking import checked_when_asked
from teambus_team_runner.databases import Databases
from teambus_team_runner.holders import HolderLimits, Holders
from teambus_team_runner.models.catalogue import Models
from teambus_team_runner.presence import present
from tests.unit.app_parts import app

NEWS = app(id="news")


class ListeningBus:
    """Stands in for a bus and its client; remembers what was subscribed to."""

    def __init__(self) -> None:
        self.client = self
        self.settings = BusSettings((), "test")
        self.subjects: list[str] = []
        self.is_closed = True

    async def subscribe(self, subject: str, **_: Any) -> None:
        self.subjects.append(subject)

    async def barrier(self) -> None:
        """Nothing is on its way."""


@asynccontextmanager
async def answering(bus: ListeningBus) -> Any:
    """A gateway, a hook-runner and a team-runner of one database answer."""
    real = cast("Bus", bus)
    nothing: Any = None
    answers = Answers(real, Bodies(real), cast("Databases", nothing), at_once_max=1)
    holders = Holders(real, "runner-1", HolderLimits())
    async with answering_questions(real, cast("Parts", nothing), at_once_max=1):
        async with (
            answers.given({"team-db": "desk"}),
            holders.answering(lambda *_: False),
            present(real, "news", Hands(1, patience_s=1)),
            checked_when_asked(real, NEWS, cast("Databases", nothing), cast("Models", nothing)),
            saying_what_is_called(real, Calling()),
        ):
            yield


async def test_what_is_answered_is_described_and_what_is_described_is_answered() -> None:
    bus = ListeningBus()
    async with answering(bus):
        pass
    names = {"tenant": "*", "db": "team-db", "runner": "runner-1", "app": "news"}
    described = {endpoint.address.format(**names) for endpoint in ENDPOINTS}
    assert set(bus.subjects) == described
