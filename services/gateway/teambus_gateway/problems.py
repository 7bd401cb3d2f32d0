"""What the gateway says when it cannot do what was asked: one shape for HTTP and for the bus."""

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


class BusProblems:
    """Says, when the bus fails in a block, what that means for a submission: raises `Problem`."""

    def __init__(self, run_id: str, retry_after_s: int) -> None:
        self._run_id = run_id
        self._retry_after_s = retry_after_s

    def __enter__(self) -> None:
        return

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, BusError):
            raise self._problem(error) from error

    def _problem(self, error: BusError) -> Problem:
        if isinstance(error, QuotaExceeded):
            detail = "too many runs of this team or agent are waiting; try again later"
            return self._said(429, detail, "quota_exceeded")
        if isinstance(error, StreamFull):
            log.error("a stream is full", error=str(error))
            return self._said(503, "the bus is full; try again later", "bus_full")
        if isinstance(error, BusUnavailable):
            log.error("the bus does not answer", error=str(error))
            detail = (
                "the bus did not answer in time, so whether the run was accepted is unknown; "
                "ask for the run by its id, or send the same request again with an Idempotency-Key"
            )
            return self._said(503, detail, "outcome_unknown")
        log.error("the bus refused", error=str(error))
        detail = "the bus refused the request; the gateway's log says why"
        return self._said(503, detail, "bus_refused")

    def _said(self, status: int, detail: str, code: str) -> Problem:
        return Problem(status, detail, code, retry_after_s=self._retry_after_s, run_id=self._run_id)
