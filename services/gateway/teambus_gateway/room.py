"""How much this process holds at once, of bodies and of callers: more is refused, not queued."""

from typing import Self

from teambus_gateway.problems import Problem


class Places:
    """A number of callers; `what` they do goes into the refusal.

    `with` takes a place while the block runs. Raises `Problem` 503 when there is none.
    """

    def __init__(self, places_max: int, what: str, code: str, *, retry_after_s: int) -> None:
        self._places_max = places_max
        self._what = what
        self._code = code
        self._retry_after_s = retry_after_s
        self.taken = 0

    def __enter__(self) -> None:
        if self.taken >= self._places_max:
            detail = f"too many {self._what} at this gateway; try again later"
            raise Problem(503, detail, self._code, retry_after_s=self._retry_after_s)
        self.taken += 1

    def __exit__(self, *_: object) -> None:
        self.taken -= 1


class Room:
    """A number of bytes, shared by all requests that are being read."""

    def __init__(self, bytes_max: int, *, retry_after_s: int) -> None:
        self._bytes_max = bytes_max
        self._retry_after_s = retry_after_s
        self.held = 0

    def hold(self) -> "Hold":
        """Room for one body while a block runs, as much as it turns out to need."""
        return Hold(self)

    def take(self, count: int) -> bool:
        if self.held + count > self._bytes_max:
            return False
        self.held += count
        return True

    def refusal(self) -> Problem:
        detail = "too much is being uploaded to this gateway at once; try again later"
        return Problem(503, detail, "too_many_uploads", retry_after_s=self._retry_after_s)


class Hold:
    """What one request holds."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._refused = False
        self.held = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._room.held -= self.held

    def grow(self, count: int) -> bool:
        """Whether there was room for so much more; if not, nothing is held from then on."""
        if self._refused or not self._room.take(count):
            self._let_go()
            return False
        self.held += count
        return True

    def check(self) -> None:
        """Raises `Problem` 503 if there was not room for all of it."""
        if self._refused:
            raise self._room.refusal()

    def _let_go(self) -> None:
        self._refused = True
        self._room.held -= self.held
        self.held = 0
