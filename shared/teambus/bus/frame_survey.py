"""How much of what a run said is still stored."""

from dataclasses import dataclass

from teambus.bus.frame_stream import FrameStream
from teambus.contracts.ids import TeamId
from teambus.domain.frame_order import Order


@dataclass(frozen=True, slots=True)
class Said:
    """How much a run has said so far: frames in all, those after the asked one, the last number.

    `whole` is false when some of those after the asked one are no longer stored.
    """

    total: int
    after: int
    last_index: int
    whole: bool


async def survey(stream: FrameStream, team_id: TeamId, *, after: int, frames: int) -> Said:
    """What a reader who has the frames up to `after` can still get; of a run that has ended,
    `frames` is the number of its end.

    Nothing is called gone because of a server that has been out of touch. Raises `BusUnavailable`.
    """
    said = await _read(stream, team_id, after, frames)
    if not said.whole:
        await stream.confirm()
        said = await _read(stream, team_id, after, frames)
    return said


async def _read(stream: FrameStream, team_id: TeamId, after: int, frames: int) -> Said:
    order = Order(team_id, after=after)
    seq = missed = 0
    goal = await stream.reach()
    while stored := await stream.next(seq, until=goal):
        for each in stored:
            batch = await stream.batch(each)
            missed += 0 if batch is None else len(order.put(batch))
            seq = each.seq
    reaches_end = max(order.highest, after) + 1 >= frames
    return Said(order.total, missed, order.highest, whole=reaches_end and not order.holes)
