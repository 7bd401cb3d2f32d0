"""What was heard for readers of streams and is not read yet: bounded for each, and for all."""

from collections import deque

from nats.aio.msg import Msg

from teambus.bus.frame_stream import FeedLimits


class Unread:
    """The bytes that are kept for all readers of this process together."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.held = 0


class Heard:
    """One reader's batches, as they were repeated live."""

    def __init__(self, limits: FeedLimits, unread: Unread) -> None:
        self._limits = limits
        self._of_all = unread
        self._batches: deque[Msg] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def first(self) -> Msg:
        return self._batches[0]

    def keep(self, batch: Msg) -> bool:
        """False when there is no room for it."""
        size = len(batch.data)
        if (
            len(self._batches) >= self._limits.unread_max
            or self._bytes + size > self._limits.unread_bytes_max
            or self._of_all.held + size > self._of_all.bytes_max
        ):
            return False
        self._batches.append(batch)
        self._count(size)
        return True

    def drop(self, batch: Msg) -> None:
        """Forget the first, if it is still this one."""
        if self._batches and self._batches[0] is batch:
            self._batches.popleft()
            self._count(-len(batch.data))

    def clear(self) -> None:
        self._batches.clear()
        self._count(-self._bytes)

    def _count(self, size: int) -> None:
        self._bytes += size
        self._of_all.held += size
