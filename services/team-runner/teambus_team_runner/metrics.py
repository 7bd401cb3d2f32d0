"""What the team-runner counts. Teams and models are those its app declares, so that no tenant and
no request makes a new label.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge, Histogram

from teambus.contracts.journal import ModelAnswer
from teambus.contracts.run import RunCompleted
from teambus_team_runner.models.port import ModelError

SECONDS = (0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800)

RUNS = Counter("teambus_runs", "Runs that ended, by how", ["team", "status"])
RUN_SECONDS = Histogram(
    "teambus_run_duration_seconds",
    "From when a runner first took a run to its completed event",
    ["team"],
    buckets=SECONDS,
)
QUEUE_SECONDS = Histogram(
    "teambus_run_queue_seconds",
    "From when the bus took a request to when a hand took it",
    buckets=SECONDS,
)
RUNS_LOST = Counter("teambus_runs_lost", "Runs in hand that another runner took over")
IN_HAND = Gauge("teambus_runs_in_hand", "Runs that hold a hand")
PARKED = Gauge("teambus_runs_parked", "Runs that wait for their session and hold no hand")
HANDS = Gauge("teambus_hands", "How many runs may be in hand at once")
HELD_AHEAD = Gauge("teambus_requests_held_ahead", "Requests in lines in front of the hands")
STEP_SECONDS = Histogram(
    "teambus_step_duration_seconds",
    "How long a step took: model or tool",
    ["kind"],
    buckets=SECONDS,
)
STEPS_REPLAYED = Counter(
    "teambus_steps_replayed", "Steps taken from a journal in place of being done again", ["kind"]
)
MODEL_CALLS = Counter(
    "teambus_model_calls", "Model calls, tries included, by what came of them", ["model", "outcome"]
)
MODEL_SECONDS = Histogram(
    "teambus_model_call_duration_seconds",
    "How long a model took to answer, tries and the waits between them included",
    ["model"],
    buckets=SECONDS,
)
MODEL_RETRIES = Counter("teambus_model_retries", "Tries of a model that were repeated", ["model"])
MODEL_TOKENS = Counter(
    "teambus_model_tokens", "Tokens paid for, as the provider counts them", ["model", "direction"]
)

OTHER_TEAM = "other"
OK, CUT = "ok", "cut"


def count_end(completed: RunCompleted, began_at: float) -> None:
    """A run of a team of this app has ended."""
    RUNS.labels(completed.team_id, completed.output.status.value).inc()
    RUN_SECONDS.labels(completed.team_id).observe(max(0, time.time() - began_at))


def count_early_end(completed: RunCompleted) -> None:
    """A run has ended that never began; its team may be any a request has named."""
    RUNS.labels(OTHER_TEAM, completed.output.status.value).inc()


def count_wait(stored_at: float) -> None:
    QUEUE_SECONDS.observe(max(0, time.time() - stored_at))


@contextmanager
def step_timed(kind: str) -> Iterator[None]:
    """Time a step that is done to its end; one that is broken off is none."""
    began = time.perf_counter()
    yield
    STEP_SECONDS.labels(kind).observe(time.perf_counter() - began)


@contextmanager
def call_counted(model: str) -> Iterator[Callable[[ModelAnswer], None]]:
    """Count a call of a model by how the block ends; what it yields is told the answer."""
    began = time.perf_counter()
    outcome = CUT
    try:
        yield lambda answer: _count_tokens(model, answer)
        outcome = OK
    except ModelError as error:
        outcome = error.code
        raise
    finally:
        MODEL_CALLS.labels(model, outcome).inc()
        MODEL_SECONDS.labels(model).observe(time.perf_counter() - began)


def _count_tokens(model: str, answer: ModelAnswer) -> None:
    if answer.metrics is not None:
        MODEL_TOKENS.labels(model, "input").inc(answer.metrics.input_tokens)
        MODEL_TOKENS.labels(model, "output").inc(answer.metrics.output_tokens)
