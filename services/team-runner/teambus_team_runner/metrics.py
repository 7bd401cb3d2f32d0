"""What the team-runner counts. Teams and models are those its app declares, so that no tenant and
no request makes a new label.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

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
    _runs(completed.team_id, completed.output.status.value).inc()
    _run_seconds(completed.team_id).observe(max(0, time.time() - began_at))


def count_early_end(completed: RunCompleted) -> None:
    """A run has ended that never began; its team may be any a request has named."""
    RUNS.labels(OTHER_TEAM, completed.output.status.value).inc()


def count_wait(stored_at: float) -> None:
    QUEUE_SECONDS.observe(max(0, time.time() - stored_at))


def count_step(kind: str, began: float) -> None:
    """A step was done to its end, begun at `began` of the performance counter; one that is broken
    off is none.
    """
    _step_seconds(kind).observe(time.perf_counter() - began)


@contextmanager
def call_counted(model: str) -> Iterator[None]:
    """Count a call of a model by how the block ends."""
    began = time.perf_counter()
    outcome = CUT
    try:
        yield
        outcome = OK
    except ModelError as error:
        outcome = error.code
        raise
    finally:
        _model_calls(model, outcome).inc()
        _model_seconds(model).observe(time.perf_counter() - began)


def count_tokens(model: str, answer: ModelAnswer) -> None:
    if answer.metrics is not None:
        _model_tokens(model, "input").inc(answer.metrics.input_tokens)
        _model_tokens(model, "output").inc(answer.metrics.output_tokens)


# Looking a labelled one up costs more than counting with it.
_runs = cache(RUNS.labels)
_run_seconds = cache(RUN_SECONDS.labels)
_step_seconds = cache(STEP_SECONDS.labels)
_model_calls = cache(MODEL_CALLS.labels)
_model_seconds = cache(MODEL_SECONDS.labels)
_model_tokens = cache(MODEL_TOKENS.labels)
