"""What a failed try means: whether to try again, when, and what to tell a person."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
import httpx2
import openai

from teambus_team_runner.models.port import ModelError
from teambus_team_runner.models.wire import UnreadableAnswer, error_text

AUTHENTICATION = "model_authentication_error"
RATE_LIMIT = "model_rate_limit_error"
TIMEOUT = "model_timeout_error"
PROVIDER = "model_provider_error"
ANSWER = "model_answer_error"


class HttpRefusal(Exception):
    """The provider answered with an error status."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.headers = headers
        self.body = body


# Timeouts, unknown names and refused certificates are OSErrors, too. Under the SDK, aiohttp's error
# for what is not HTTP comes through as it is, and a stream's errors are httpx2's.
_UNREACHED = (openai.APIConnectionError, httpx2.TransportError, aiohttp.ClientError, OSError)
TRY_FAILURES = (HttpRefusal, openai.OpenAIError, ValueError, *_UNREACHED)

_AGAIN = frozenset({408, 409, 429})
_DETAIL_LENGTH_MAX = 500
_SECRETS = re.compile(r"(sk-|Bearer\s+)[^\s\"',]+|(?<=//)[^/\s@]+@")


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed try. `wait_s` is what the provider asked us to wait."""

    error: ModelError
    again: bool
    wait_s: float | None = None


def failure_of(error: BaseException, where: str) -> Failure:
    """Judge what a try raised; `where` names the provider's host."""
    if isinstance(error, openai.APIStatusError):
        response = error.response
        return _refused(HttpRefusal(error.status_code, response.headers, response.content), where)
    if isinstance(error, HttpRefusal):
        return _refused(error, where)
    if isinstance(error, UnreadableAnswer):
        text = f"the model's answer from {where} cannot be read: {_clean(str(error))}"
        return Failure(ModelError(ANSWER, text), again=True)
    if isinstance(error, _UNREACHED):
        return _unreached(error, where)
    text = f"the model client failed: {type(error).__name__}"
    return Failure(ModelError(PROVIDER, text), again=False)


def out_of_time(deadline_s: float, where: str) -> ModelError:
    return ModelError(TIMEOUT, f"the model at {where} gave no answer in {deadline_s:g} s")


def _refused(error: HttpRefusal, where: str) -> Failure:
    status = error.status
    if status in (401, 403):
        text = f"{where} refused the credentials (HTTP {status}); check OPENAI_API_KEY"
        return Failure(ModelError(AUTHENTICATION, text), again=False)
    code, detail = error_text(error.body)
    text = f"the model at {where} answered HTTP {status}"
    if status < 400:
        text += ", a redirect, which is not followed; check OPENAI_BASE_URL"
    if detail:
        text += f": {_clean(detail)}"
    headers = error.headers
    again = status in _AGAIN or status >= 500
    if code == "insufficient_quota" or headers.get("x-should-retry") == "false":
        again = False
    kind = RATE_LIMIT if status == 429 else PROVIDER
    return Failure(ModelError(kind, text), again, asked_wait_s(headers))


def _unreached(error: BaseException, where: str) -> Failure:
    cause: BaseException = error
    # The client wraps the transport's failure, which alone tells a timeout from a broken line.
    while cause.__cause__ and not isinstance(cause, TimeoutError):
        cause = cause.__cause__
    if isinstance(cause, TimeoutError):
        return Failure(ModelError(TIMEOUT, f"the model at {where} did not answer in time"), True)
    text = f"the connection to the model at {where} failed: {type(cause).__name__}"
    return Failure(ModelError(PROVIDER, text), again=True)


def asked_wait_s(headers: Mapping[str, str]) -> float | None:
    """How long `Retry-After` asks to wait; None when it does not, or not readably."""
    try:
        if (wait_ms := headers.get("retry-after-ms")) is not None:
            return max(0.0, float(wait_ms) / 1000)
        if (wait := headers.get("retry-after")) is None:
            return None
        if wait.replace(".", "", 1).isdigit():
            return float(wait)
        return max(0.0, (parsedate_to_datetime(wait) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _clean(text: str) -> str:
    return _SECRETS.sub("***", text[:_DETAIL_LENGTH_MAX])
