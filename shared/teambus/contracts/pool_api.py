"""Asking whether anybody serves an app; answered by one of the runners of its pool."""

import msgspec


class FindRunner(msgspec.Struct, kw_only=True):
    """`pool.<app>`: is a runner of this app there? Without one the bus says: no responders."""


class RunnerFound(msgspec.Struct, kw_only=True):
    """The answer: which runner, how many runs it may hold at once, and how many it holds now."""

    runner: str
    hands: int
    busy: int
