"""One party's run: opened, held, and closed well or badly. All parties do it alike."""

from collections.abc import Sequence
from typing import Any

from teambus.app.teams import Team
from teambus.contracts.output import ChatMessage, RunOutput, RunStatus, TeamRunOutput
from teambus.domain.media import run_input
from teambus_team_runner.engine.calls import RunMember
from teambus_team_runner.engine.cancellation import EXECUTING, Cut
from teambus_team_runner.engine.context import shown_state
from teambus_team_runner.engine.conversation import Conversation
from teambus_team_runner.engine.failure import Failure
from teambus_team_runner.engine.hooks import Hooks
from teambus_team_runner.engine.output import fill, keep_state
from teambus_team_runner.engine.party import Party, Surroundings
from teambus_team_runner.engine.prompt import known_values, system_prompt
from teambus_team_runner.engine.state import State
from teambus_team_runner.engine.voice import Voice


class Answering:
    """A party's conversation with what surrounds it. `state` is what the party leaves; it
    `has_gone_on` when it has begun where another run was left.
    """

    def __init__(
        self, party: Party, surroundings: Surroundings, state: State, run_member: RunMember
    ) -> None:
        self.voice = Voice(party, surroundings)
        self.hooks = Hooks(party, surroundings, self.voice)
        self.held = Conversation(party, surroundings, state, run_member)
        self.party = party
        self.has_gone_on = False
        self.has_begun = False
        self._surroundings = surroundings
        self._given = state

    @property
    def state(self) -> State:
        return self.held.state

    @state.setter
    def state(self, state: State) -> None:
        self.held.state = state

    async def speak(
        self, output: RunOutput | TeamRunOutput, asked: str, history: Sequence[ChatMessage]
    ) -> Failure | None:
        """Hold the conversation and write down all it came to; None when it was answered."""
        if not self.has_begun:
            say_begun(self.voice, self.party, self._surroundings)
        self._open(asked, list(history))
        try:
            answer = await self.held.hold()
        finally:
            fill(output, self.party, self.held)
        if isinstance(answer, Failure):
            return answer
        self.voice.says("RunContentCompleted")
        output.status, output.content = RunStatus.COMPLETED, answer
        self._keep_state(output)
        return None

    def begin(self) -> None:
        """Say so before pre-hooks are called: agents do that first, teams do not."""
        if not self.party.is_team:
            say_begun(self.voice, self.party, self._surroundings)
            self.has_begun = True

    def _open(self, asked: str, history: list[ChatMessage]) -> None:
        start = self._surroundings.start
        if self.party.parent is None and start.continued is not None:
            self.has_gone_on = True
            self.held.take_up(start.continued, history, asked or None)
        else:
            self.held.transcript.open(self._prompt(), history, run_input(asked, start.media))

    def withdraw(self, output: RunOutput | TeamRunOutput) -> None:
        """Forget an answer that a check refused, so that nobody reads it."""
        self.held.transcript.withdraw_answer()
        if output.messages is not None:
            output.messages = self.held.transcript.own

    def close(
        self, output: RunOutput | TeamRunOutput, failure: Failure | Cut | None
    ) -> dict[str, Any]:
        """Give the output its last form; the party's last word on it."""
        self._keep_state(output)
        if failure is None:
            output.status = RunStatus.COMPLETED
            return self.voice.ends("RunCompleted", **self._last_words(output))
        if isinstance(failure, Cut):
            return self._close_cut(output, failure.reason)
        output.status, output.content = RunStatus.ERROR, failure.text
        return self.voice.ends_in_error(failure)

    def _keep_state(self, output: RunOutput | TeamRunOutput) -> None:
        """A member's is told with the ids of its run, as it has read them."""
        if self.party.parent is None:
            keep_state(output, self._given, self.state)
        else:
            output.session_state = shown_state(self.party, self._surroundings, self.state)

    def _close_cut(self, output: RunOutput | TeamRunOutput, reason: str) -> dict[str, Any]:
        so_far = output.content or self.held.so_far or None
        output.status, output.cancellation_stage = RunStatus.CANCELLED, EXECUTING
        output.content = so_far or reason
        return self.voice.ends("RunCancelled", reason=reason, content=so_far)

    def _last_words(self, output: RunOutput | TeamRunOutput) -> dict[str, Any]:
        is_team = isinstance(self.party.who, Team)
        return {
            "content": output.content,
            "content_type": output.content_type,
            "model_provider_data": output.model_provider_data,
            "member_responses": output.member_responses if is_team else None,
            "metadata": output.metadata,
            "metrics": output.metrics,
            "session_state": output.session_state,
        }

    def _prompt(self) -> str | None:
        start = self._surroundings.start
        state = shown_state(self.party, self._surroundings, self.state)
        known = known_values(state, start.dependencies, start.metadata)
        return system_prompt(self.party.who, known, start.media)


def say_begun(voice: Voice, party: Party, surroundings: Surroundings) -> None:
    """The first word of a party that is asked, or that goes on with another run."""
    if party.parent is None and surroundings.start.continued is not None:
        voice.says("RunContinued")
        return
    model = party.model
    named = {"model": model.id, "model_provider": model.provider} if model else {}
    voice.says("RunStarted", **named)
