"""What can go wrong between a run and its database, in words for people."""


class StoreUnavailable(Exception):
    """The database cannot be used now. `reason` is short and holds no SQL and no content.

    A save that raises this was either written whole or not at all, and may be made again.
    `shared` says that any other write would have failed as well.
    """

    def __init__(self, reason: str, *, shared: bool = True) -> None:
        super().__init__(f"the session database is unavailable: {reason}")
        self.reason = reason
        self.shared = shared


class StoreFenced(Exception):
    """The session was written under a newer opening: this runner has lost it and must stop."""

    def __init__(self, session_id: str, fence: int) -> None:
        super().__init__(f'session "{session_id}" was written under a newer opening than {fence}')


class RunInAnotherSession(Exception):
    """A run of this id is stored in another session. Nothing was written."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f'run "{run_id}" is already stored in another session')


class SessionNotFound(Exception):
    """No such session for this user: someone else's looks like none at all."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f'session "{session_id}" not found')


class SessionTooLarge(Exception):
    """More was asked for than is read at once; the message says what to do."""

    def __init__(self, session_id: str, size: int, bytes_max: int) -> None:
        super().__init__(
            f'the runs asked for of session "{session_id}" are {size} bytes, at most {bytes_max} '
            "are given at once: ask for fewer by the time they were made, or for one"
        )


class SessionTaken(Exception):
    """The id chosen for a new session is another session's. Nothing was written."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f'a session "{session_id}" is there already')


class StoreUnfit(Exception):
    """The database is not one this version can keep sessions in; the message says what to do."""
