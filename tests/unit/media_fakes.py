"""A fake store of files for models."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from teambus.contracts.output import ChatMessage


class FakeMedia:
    """Has what it was given, whatever is asked for. `open` is how many calls hold files now."""

    def __init__(self, contents: Mapping[str, bytes] | None = None) -> None:
        self.contents = contents or {}
        self.open = 0

    @asynccontextmanager
    async def of(self, messages: Sequence[ChatMessage]) -> AsyncIterator[Mapping[str, bytes]]:
        self.open += 1
        try:
            yield self.contents
        finally:
            self.open -= 1
