"""The limits on calls of models."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """`timeout_s` is for one try, `deadline_s` for a call with all its tries and waits.

    A team's own `timeout` and `max_retries` take the place of `timeout_s` and `attempts_max`.
    `client`: sdk sends each request through the openai client, lean over connections of our own.
    """

    connections_max: int = 256
    connect_timeout_s: float = 10
    keepalive_s: float = 15
    timeout_s: float = 120
    attempts_max: int = 4
    backoff_s: float = 0.5
    backoff_max_s: float = 30
    deadline_s: float = 600
    answer_bytes_max: int = 16 * 1024 * 1024
    client: Literal["lean", "sdk"] = "lean"
