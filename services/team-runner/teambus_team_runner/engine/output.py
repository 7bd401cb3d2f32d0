"""From a conversation to the output clients read."""

from typing import Any

from teambus.app.teams import Team
from teambus.contracts.journal import ModelAnswered
from teambus.contracts.output import (
    Metrics,
    RunOutput,
    RunStatus,
    TeamRunInput,
    TeamRunOutput,
    TokenDetails,
)
from teambus_team_runner.engine.conversation import Conversation
from teambus_team_runner.engine.party import Party, Surroundings
from teambus_team_runner.engine.ports import Continued
from teambus_team_runner.engine.state import State

CONTENT_TYPE = "str"


def team_output(party: Party, surroundings: Surroundings, asked: TeamRunInput) -> TeamRunOutput:
    """The output of a team's own run as it begins."""
    return TeamRunOutput(
        **_opening(party, surroundings, asked),
        team_id=party.who.id,
        team_name=party.who.name,
        member_responses=[],
    )


def member_output(party: Party, surroundings: Surroundings, asked: TeamRunInput) -> RunOutput:
    """The output of a member's run, or of an agent's by itself, as it begins."""
    who = party.who
    ids: dict[str, Any]
    if isinstance(who, Team):
        ids = {"team_id": who.id, "team_name": who.name}
    else:
        ids = {"agent_id": who.id, "agent_name": who.name}
    return RunOutput(**_opening(party, surroundings, asked), **ids)


def keep_lineage(output: RunOutput | TeamRunOutput, continued: Continued) -> None:
    """Say which run this one goes on with, and from where."""
    output.forked_from_run_id = continued.run_id
    output.forked_from_message_index = continued.index
    if continued.is_regenerated:
        output.regenerated_from = continued.run_id
    if continued.is_cut:
        output.last_checkpoint_at_message_index = continued.index


def fill(output: RunOutput | TeamRunOutput, party: Party, held: Conversation) -> None:
    """Add what a conversation came to, whether it ended well or not."""
    output.messages = held.transcript.own
    output.metrics = _metrics(party, held)
    output.tools = held.executions
    if held.answers:
        output.model_provider_data = held.answers[-1].answer.provider_data
    if isinstance(party.who, Team):
        output.member_responses = held.responses


def keep_state(output: RunOutput | TeamRunOutput, given: State, state: State) -> None:
    """A state that never was is left out, one that was emptied is not."""
    output.session_state = state if state or given else None


def ended_at(party: Party, held: Conversation) -> float:
    return max((answered.at for answered in held.answers), default=float(party.created_at))


def started_at(party: Party, held: Conversation) -> float:
    return _begun_at(held.answers) if held.answers else float(party.created_at)


def _opening(party: Party, surroundings: Surroundings, asked: TeamRunInput) -> dict[str, Any]:
    start = surroundings.start
    return {
        "run_id": party.run_id,
        "parent_run_id": party.parent and party.parent.run_id,
        "session_id": start.session_id,
        "user_id": start.user_id,
        "status": RunStatus.RUNNING,
        "created_at": party.created_at,
        "content_type": CONTENT_TYPE,
        "input": asked,
        "model": party.model and party.model.id,
        "model_provider": party.model and party.model.provider,
        "metadata": start.metadata,
    }


def _metrics(party: Party, held: Conversation) -> Metrics:
    """The party's own tokens; those of its members stand in their runs.

    The seconds come from recorded times, so that a run taken over tells the same.
    """
    total, answers = Metrics(), held.answers
    for answered in answers:
        _add(total, answered.answer.metrics or Metrics())
    if answers:
        first = answers[0].answer.metrics or Metrics()
        total.time_to_first_token = first.time_to_first_token
    if told := [*answers, *([held.failed] if held.failed else [])]:
        total.duration = round(told[-1].at - _begun_at(told), 6)
    if party.model is not None and answers:
        spent = TokenDetails(
            id=party.model.id,
            provider=f"{party.model.provider} Chat",
            input_tokens=total.input_tokens,
            output_tokens=total.output_tokens,
            total_tokens=total.total_tokens,
        )
        total.details = {"model": [spent]}
    return total


def _begun_at(answers: list[ModelAnswered]) -> float:
    metrics = answers[0].answer.metrics
    return answers[0].at - ((metrics and metrics.duration) or 0)


def _add(total: Metrics, more: Metrics) -> None:
    total.input_tokens += more.input_tokens
    total.output_tokens += more.output_tokens
    total.total_tokens += more.total_tokens
    total.cache_read_tokens += more.cache_read_tokens
    total.reasoning_tokens += more.reasoning_tokens
