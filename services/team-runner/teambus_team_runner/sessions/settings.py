"""The limits of the session store."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """`store_timeout_s` bounds every call; `store_busy_timeout_s` the wait for another process;
    `session_bytes_max` what is read of one session's runs at once.
    """

    store_busy_timeout_s: float = 5
    store_timeout_s: float = 15
    store_queue_max: int = 1000
    store_batch_max: int = 64
    store_readers_max: int = 4
    session_bytes_max: int = 32 * 1024 * 1024

    def __post_init__(self) -> None:
        assert self.store_busy_timeout_s < self.store_timeout_s, self
        assert min(self.store_queue_max, self.store_batch_max, self.store_readers_max) >= 1, self
