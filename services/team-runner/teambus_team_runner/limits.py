"""The parts' limits, as an operator chose them."""

from teambus_team_runner.attempt import AttemptLimits
from teambus_team_runner.ending import EndingLimits
from teambus_team_runner.models.limits import ModelLimits
from teambus_team_runner.settings import Settings


def attempt_limits(settings: Settings) -> AttemptLimits:
    return AttemptLimits(
        journal_entries_max=settings.journal_entries_max,
        journal_entry_bytes_max=settings.journal_entry_bytes_max,
        waiting_max=settings.sessions_waiting_max,
        journal_patience_s=settings.journal_patience_s,
        release_s=settings.release_s,
        deaths_max=settings.deaths_max,
        alone_wait_s=settings.alone_wait_s,
    )


def ending_limits(settings: Settings) -> EndingLimits:
    return EndingLimits(settings.store_retry_s, settings.store_give_up_s)


def model_limits(settings: Settings) -> ModelLimits:
    return ModelLimits(
        connections_max=settings.model_connections_max,
        connect_timeout_s=settings.model_connect_timeout_s,
        keepalive_s=settings.model_keepalive_s,
        answer_bytes_max=settings.model_answer_bytes_max,
        timeout_s=settings.model_timeout_s,
        attempts_max=settings.model_attempts_max,
        backoff_s=settings.model_backoff_s,
        backoff_max_s=settings.model_backoff_max_s,
        deadline_s=settings.model_deadline_s,
        client=settings.model_client,
    )
