"""The one order in which every reader sees the frames of a run, whenever and wherever it reads."""

from teambus.contracts.frames import ATTEMPT_STRIDE, Frame, FrameBatch
from teambus.contracts.ids import TeamId


class Order:
    """Takes batches by their place in the stream and gives the frames that are next for a reader.

    What an attempt says after another has followed it is dropped, and so is what the reader has:
    everything up to the number `after`.
    """

    def __init__(self, team_id: TeamId, *, after: int) -> None:
        self._team_id = team_id
        self._attempt = 0
        self.after = after
        self.total = 0
        self.highest = -1
        self.holes = False

    def put(self, batch: FrameBatch) -> list[Frame]:
        """The frames of a batch that are next for this reader."""
        if batch.team_id != self._team_id or batch.attempt < self._attempt or not batch.frames:
            return []
        self._note_holes(batch.frames[0].event_index, is_newer=batch.attempt > self._attempt)
        self._attempt = batch.attempt
        self.total += len(batch.frames)
        self.highest = max(self.highest, batch.frames[-1].event_index)
        fresh = [frame for frame in batch.frames if frame.event_index > self.after]
        self.after = max(self.after, batch.frames[-1].event_index)
        return fresh

    def _note_holes(self, first: int, *, is_newer: bool) -> None:
        """Frames that are no longer stored are missing unless this reader has had them."""
        begins = first == 0 or (is_newer and first % ATTEMPT_STRIDE == 0)
        follows = first <= max(self.highest, self.after) + 1
        self.holes = self.holes or not (begins or follows)
