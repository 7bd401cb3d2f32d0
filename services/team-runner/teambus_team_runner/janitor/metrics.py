"""What the janitor sees, as figures; only the runner that is the janitor has any."""

from prometheus_client import Gauge

from teambus.domain.room import Filling
from teambus_team_runner.janitor.lag import Waiting

JANITOR = Gauge("teambus_janitor", "1 in the runner that is the janitor")
UNSERVED = Gauge("teambus_unserved_requests", "Requests that nobody serves")
UNSERVED_SECONDS = Gauge("teambus_unserved_oldest_seconds", "Age of the oldest of them")
PENDING = Gauge("teambus_waiting", "Work never delivered yet", ["consumer"])
OLDEST_SECONDS = Gauge("teambus_waiting_oldest_seconds", "Age of the oldest of it", ["consumer"])
STREAM_BYTES = Gauge("teambus_stream_bytes", "What a stream holds", ["stream"])
STREAM_BYTES_MAX = Gauge("teambus_stream_bytes_max", "What it may hold", ["stream"])


def show_unserved(count: int, oldest_s: float) -> None:
    UNSERVED.set(count)
    UNSERVED_SECONDS.set(oldest_s)


def show_waiting(seen: list[Waiting]) -> None:
    PENDING.clear()
    OLDEST_SECONDS.clear()
    for each in seen:
        PENDING.labels(each.name).set(each.pending)
        OLDEST_SECONDS.labels(each.name).set(each.oldest_s)


def show_room(seen: list[Filling]) -> None:
    STREAM_BYTES.clear()
    STREAM_BYTES_MAX.clear()
    for each in seen:
        STREAM_BYTES.labels(each.stream).set(each.held_bytes)
        STREAM_BYTES_MAX.labels(each.stream).set(each.bytes_max)


def show_nothing() -> None:
    JANITOR.set(0)
    show_unserved(0, 0)
    show_waiting([])
    show_room([])
