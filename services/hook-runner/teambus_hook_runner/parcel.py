"""A delivery that was opened: the event in it, and which of its deliveries to the hook it is."""

import msgspec

from teambus.bus.bodies import Bodies
from teambus.contracts.hook import RedriveDelivery, delivery_id
from teambus.contracts.ids import HookName
from teambus.contracts.message import decode, encode
from teambus.contracts.run import RunCompleted
from teambus.contracts.subjects import RedriveSubject
from teambus_hook_runner.in_hand import Held


class Addressed(msgspec.Struct, frozen=True):
    """An event on its way to one hook. `generation` 0 is the ordinary delivery; each redrive or
    replay, whose id is `replay`, is one more.
    """

    hook: HookName
    event: RunCompleted
    generation: int = 0
    replay: str | None = None

    @property
    def id(self) -> str:
        return delivery_id(self.event.tenant, self.hook, self.event.run_id)


class Parcel(msgspec.Struct, frozen=True):
    """`body` is the event as the hook's process gets it."""

    held: Held
    addressed: Addressed
    body: bytes
    suspect: bool = False

    @property
    def event(self) -> RunCompleted:
        return self.addressed.event

    @property
    def is_first(self) -> bool:
        """Whether nobody can have recorded anything of it yet."""
        return self.held.delivery.attempt == 1 and self.addressed.generation == 0


async def opened(held: Held, hook: HookName, bodies: Bodies) -> Parcel:
    """Raises `MalformedMessage` or `BodyMissing`."""
    delivery = held.delivery
    body = await bodies.load(delivery.data, delivery.headers)
    if RedriveSubject.parse(delivery.subject) is None:
        return Parcel(held, Addressed(hook, decode(RunCompleted, body)), body)
    order = decode(RedriveDelivery, body)
    addressed = Addressed(hook, order.event, order.generation, order.replay)
    return Parcel(held, addressed, encode(order.event), order.suspect)
