"""What is wrong with a declaration, and what a hook may raise to say more than "failed"."""

from enum import StrEnum
from typing import Any


class DefinitionError(Exception):
    """Something declared is wrong. Each mistake names the object and says what to write instead."""

    def __init__(self, *mistakes: str) -> None:
        assert mistakes
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class ToolArgumentsError(ValueError):
    """The arguments a model wrote do not fit the tool; the text is for the model."""


class Permanent(Exception):
    """Raised by a background hook when trying again cannot help: the delivery is buried at once."""


class CheckTrigger(StrEnum):
    """Why a check refused. Any other text may be given as well."""

    OFF_TOPIC = "off_topic"
    INPUT_NOT_ALLOWED = "input_not_allowed"
    OUTPUT_NOT_ALLOWED = "output_not_allowed"
    VALIDATION_FAILED = "validation_failed"
    PROMPT_INJECTION = "prompt_injection"
    PII_DETECTED = "pii_detected"


class CheckError(Exception):
    """A foreground hook refuses the run, which ends with status ERROR and this message."""

    error_type = "check_error"
    default_trigger: str = CheckTrigger.VALIDATION_FAILED

    def __init__(
        self,
        message: str,
        *,
        check_trigger: CheckTrigger | str | None = None,
        additional_data: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.check_trigger = str(check_trigger or self.default_trigger)
        self.additional_data = additional_data


class InputCheckError(CheckError):
    """Raised by a pre-hook that refuses the input."""

    error_type = "input_check_error"
    default_trigger = CheckTrigger.INPUT_NOT_ALLOWED


class OutputCheckError(CheckError):
    """Raised by a foreground post-hook that refuses the answer."""

    error_type = "output_check_error"
    default_trigger = CheckTrigger.OUTPUT_NOT_ALLOWED
