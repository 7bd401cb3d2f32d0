"""How a party fails: a code for programs, a text for people, and how a step remembers it."""

from dataclasses import dataclass, field
from typing import Any

from teambus.app.errors import CheckError
from teambus.contracts.journal import ModelAnswer
from teambus.contracts.output import Metrics
from teambus_team_runner.models.port import ModelError

TURNS_EXCEEDED = "turns_exceeded"
MODEL_MISSING = "model_missing"

_FINISH = "error"
_CODE = "error_code"


@dataclass(frozen=True, slots=True)
class Failure:
    code: str
    text: str
    trigger: str | None = None
    additional_data: dict[str, Any] | None = field(default=None)


def refusal(error: CheckError) -> Failure:
    return Failure(error.error_type, error.message, error.check_trigger, error.additional_data)


def failed_answer(error: ModelError, duration_s: float) -> ModelAnswer:
    """The failure as an answer, so that it is recorded and a replay fails in the same place.

    Otherwise a member that failed once might answer in the replay, and all that the leader was
    paid for after the failure would be asked for again.
    """
    return ModelAnswer(
        content=error.message,
        finish_reason=_FINISH,
        metrics=Metrics(duration=round(duration_s, 6)),
        provider_data={_CODE: error.code},
    )


def failure_in(answer: ModelAnswer) -> Failure | None:
    code = (answer.provider_data or {}).get(_CODE)
    if answer.finish_reason != _FINISH or code is None:
        return None
    return Failure(str(code), answer.content or "")
