"""What the gateway says when it cannot do what was asked: one shape for HTTP and for the bus."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import structlog

from teambus.bus.errors import BusError, BusUnavailable, QuotaExceeded, StreamFull

log = structlog.get_logger(__name__)


class Problem(Exception):
    """A refusal or failure with its HTTP status.

    `detail` is for people, or the list of field errors that clients of FastAPI know; `code` is
    for programs and absent where AgentOS has none. `facts` go beside them.
    """

    def __init__(
        self,
        status: int,
        detail: str | list[dict[str, Any]],
        code: str | None = None,
        *,
        retry_after_s: int | None = None,
        **facts: str,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code = code
        self.facts = facts
        self.retry_after_s = retry_after_s
        self.headers = {} if retry_after_s is None else {"retry-after": str(retry_after_s)}

    def body(self) -> bytes:
        code = {} if self.code is None else {"code": self.code}
        return msgspec.json.encode({"detail": self.detail, **code, **self.facts})


def field_problem(kind: str, place: tuple[str, str], says: str, given: str | None) -> Problem:
    """A 422 as FastAPI words it."""
    return Problem(422, [{"type": kind, "loc": list(place), "msg": says, "input": given}])


def missing(place: tuple[str, str]) -> Problem:
    return field_problem("missing", place, "Field required", None)


@contextmanager
def bus_problems(run_id: str, retry_after_s: int) -> Iterator[None]:
    """Say what a failure of the bus means for a submission."""
    try:
        yield
    except QuotaExceeded as error:
        raise Problem(
            429,
            "too many runs of this team or agent are waiting; try again later",
            "quota_exceeded",
            retry_after_s=retry_after_s,
            run_id=run_id,
        ) from error
    except StreamFull as error:
        log.error("a stream is full", error=str(error))
        raise Problem(
            503,
            "the bus is full; try again later",
            "bus_full",
            retry_after_s=retry_after_s,
            run_id=run_id,
        ) from error
    except BusUnavailable as error:
        log.error("the bus does not answer", error=str(error))
        raise Problem(
            503,
            "the bus did not answer in time, so whether the run was accepted is unknown; "
            "ask for the run by its id, or send the same request again with an Idempotency-Key",
            "outcome_unknown",
            retry_after_s=retry_after_s,
            run_id=run_id,
        ) from error
    except BusError as error:
        log.error("the bus refused", error=str(error))
        raise Problem(
            503,
            "the bus refused the request; the gateway's log says why",
            "bus_refused",
            retry_after_s=retry_after_s,
            run_id=run_id,
        ) from error
