"""The run of what was asked, a team or an agent by itself, from the request to its output."""

from dataclasses import replace

from teambus.app.errors import CheckError
from teambus.app.teams import Component, Team
from teambus.contracts.journal import RunPinned
from teambus.contracts.output import RunOutput, RunStatus, TeamRunInput, TeamRunOutput
from teambus.domain.agent_runs import carried_form
from teambus.domain.media import run_input
from teambus_team_runner.engine.answering import Answering, say_begun
from teambus_team_runner.engine.cancellation import Cut, RunCancelled
from teambus_team_runner.engine.failure import Failure, refusal
from teambus_team_runner.engine.hooks import Hooks
from teambus_team_runner.engine.member import run_member
from teambus_team_runner.engine.output import keep_lineage, member_output, team_output
from teambus_team_runner.engine.party import AGENT, LEADER, Party, Surroundings
from teambus_team_runner.engine.ports import EngineLimits, Finished, Frames, RunStart, Steps
from teambus_team_runner.engine.threads import Threads
from teambus_team_runner.engine.voice import Voice
from teambus_team_runner.models.port import ModelSource


async def run_component(
    component: Component,
    start: RunStart,
    steps: Steps,
    models: ModelSource,
    frames: Frames,
    limits: EngineLimits,
) -> Finished:
    """Run a team, or an agent by itself, to its end, COMPLETED, ERROR or CANCELLED.

    Run again with the steps of an earlier attempt, it decides the same and does only what is
    missing. A cancelled task and what `steps` raises stop all of it at once and pass through,
    except that the run itself was cancelled: then it ends with what it has come to.
    """
    surroundings = Surroundings(
        start=start,
        steps=steps,
        models=models,
        frames=frames,
        limits=limits,
        threads=Threads.here(limits.threads_max),
    )
    party = Party(
        who=component,
        run_id=start.run_id,
        created_at=start.created_at,
        model=component.model,
        path=LEADER if isinstance(component, Team) else AGENT,
    )
    return await _Run(party, surroundings).finish()


class _Run:
    def __init__(self, party: Party, surroundings: Surroundings) -> None:
        self._party = party
        self._surroundings = surroundings
        self._start = surroundings.start
        self._voice = Voice(party, surroundings)
        self._is_pinned_anew = False

    async def finish(self) -> Finished:
        if not self._party.is_team:
            say_begun(self._voice, self._party, self._surroundings)
        try:
            pinned = await self._surroundings.steps.pin(self._pin)
        except CheckError as error:
            return self._refused(refusal(error))
        except RunCancelled as cancelled:
            return self._refused(Cut(str(cancelled)))
        party = replace(self._party, created_at=pinned.created_at)
        state = pinned.session_state or {}
        answering = Answering(party, self._surroundings, state, run_member)
        answering.has_begun = not party.is_team
        asked = run_input(pinned.input_content or "", self._start.media)
        output = _opened(party, self._surroundings, asked)
        if self._is_given_input and not self._is_pinned_anew:
            answering.hooks.retell_before(asked)
        failure = await self._attempt(answering, output, asked.input_content)
        return _finished(answering, output, failure)

    @property
    def _is_given_input(self) -> bool:
        """Pre-hooks see all that a model is asked, and nothing twice."""
        return self._start.continued is None or bool(self._start.input)

    async def _pin(self) -> RunPinned:
        """What a replay must see again, pre-hooks' changes included."""
        self._is_pinned_anew = True
        asked = run_input(self._start.input, self._start.media)
        state = self._start.session_state
        hooks = Hooks(self._party, self._surroundings, self._voice)
        if self._is_given_input and hooks.has_pre:
            async with self._surroundings.steps.users_code():
                state = await hooks.before(asked, state)
        return RunPinned(
            created_at=self._start.created_at,
            history_run_ids=list(self._start.history_run_ids),
            session_state=state,
            input_content=asked.input_content,
        )

    async def _attempt(
        self, answering: Answering, output: RunOutput | TeamRunOutput, asked: str
    ) -> Failure | Cut | None:
        try:
            failure = await answering.speak(output, asked, self._start.history)
            if failure is None and answering.hooks.has_post:
                await self._surroundings.steps.settled()
            # An answer that came beside the cancellation is kept, but the run is cancelled.
            async with self._surroundings.steps.cancellation.while_wanted():
                if failure is None and answering.hooks.has_post:
                    await self._call_post_hooks(answering, output)
        except CheckError as error:
            answering.withdraw(output)
            return refusal(error)
        except RunCancelled as cancelled:
            return Cut(str(cancelled))
        return failure

    async def _call_post_hooks(
        self, answering: Answering, output: RunOutput | TeamRunOutput
    ) -> None:
        async with self._surroundings.steps.users_code():
            answering.state = await answering.hooks.after(output, answering.state)

    def _refused(self, failure: Failure | Cut) -> Finished:
        asked = run_input(self._start.input, self._start.media)
        output = _opened(self._party, self._surroundings, asked)
        state = self._start.session_state
        answering = Answering(self._party, self._surroundings, state, run_member)
        return _finished(answering, output, failure)


def _opened(
    party: Party, surroundings: Surroundings, asked: TeamRunInput
) -> RunOutput | TeamRunOutput:
    """The output as its hooks see it."""
    make = team_output if isinstance(party.who, Team) else member_output
    continued = surroundings.start.continued
    if continued is None:
        return make(party, surroundings, asked)
    output = make(party, surroundings, continued.asked)
    keep_lineage(output, continued)
    return output


def _finished(
    answering: Answering, output: RunOutput | TeamRunOutput, failure: Failure | Cut | None
) -> Finished:
    said = answering.close(output, failure)
    if answering.party.is_team and answering.has_gone_on:
        output.events = [answering.voice.words("RunContinued")]
    if failure is not None:
        assert output.status in (RunStatus.ERROR, RunStatus.CANCELLED)
        output.events = [*(output.events or []), said]
    if isinstance(output, RunOutput):
        output = carried_form(output, answering.party.who.id)
    return Finished(output, failure.code if isinstance(failure, Failure) else None)
