"""Asking whether anybody serves an app, and what it can reach; one runner of its pool answers."""

import msgspec


class FindRunner(msgspec.Struct, kw_only=True):
    """`pool.<app>`: is a runner of this app there? Without one the bus says: no responders."""


class RunnerFound(msgspec.Struct, kw_only=True):
    """The answer: which runner, how many runs it may hold at once, and how many it holds now."""

    runner: str
    hands: int
    busy: int


class CheckRunner(msgspec.Struct, kw_only=True):
    """`pool.<app>.check`: what can a runner of this app reach? Finding out costs no tokens."""


class DatabaseChecked(msgspec.Struct, kw_only=True):
    """A sessions' database: the version of its tables, or why they cannot be read."""

    id: str
    schema_version: int | None = None
    error: str | None = None


class ModelsChecked(msgspec.Struct, kw_only=True):
    """A model provider, as one account. `code` is `refused`, `unreached`, `unknown` where it does
    not say whether the key is accepted, or `missing` for a model it does not list; None is well.
    """

    where: str
    models: list[str]
    code: str | None = None
    detail: str | None = None


class RunnerChecked(msgspec.Struct, kw_only=True):
    """The answer: what it found, and the time by its clock, in seconds since 1970."""

    runner: str
    at: float
    databases: list[DatabaseChecked] = []
    models: list[ModelsChecked] = []
