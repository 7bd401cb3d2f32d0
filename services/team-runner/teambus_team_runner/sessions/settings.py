"""The limits of the session store."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """`store_timeout_s` bounds every call; `store_busy_timeout_s` the wait for another process;
    `session_bytes_max` what is read of one session's runs at once. What fails in passing (a
    connection lost, others writing the same) is tried `store_tries_max` times, after waits that
    double from `store_backoff_s`.
    """

    store_busy_timeout_s: float = 5
    store_timeout_s: float = 15
    store_queue_max: int = 1000
    store_batch_max: int = 64
    store_readers_max: int = 4
    store_tries_max: int = 6
    store_backoff_s: float = 0.05
    session_bytes_max: int = 32 * 1024 * 1024

    def __post_init__(self) -> None:
        assert self.store_busy_timeout_s < self.store_timeout_s, self
        limits = (self.store_queue_max, self.store_batch_max, self.store_readers_max)
        assert min(*limits, self.store_tries_max) >= 1, self


@dataclass(frozen=True, slots=True)
class Access:
    """How to get in where a declaration does not say; no text made from it shows it."""

    url: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
