"""A member's run: a task in, a result for the leader out. It never fails its team."""

from collections.abc import Awaitable, Callable

from teambus.app.errors import CheckError
from teambus.contracts.ids import digest
from teambus.contracts.journal import ToolResult
from teambus.contracts.output import RunOutput
from teambus.domain.media import run_input
from teambus_team_runner.engine.answering import Answering
from teambus_team_runner.engine.calls import NO_RESPONSE, MemberResult
from teambus_team_runner.engine.cancellation import Cut, RunCancelled
from teambus_team_runner.engine.failure import Failure, refusal
from teambus_team_runner.engine.output import ended_at, member_output, started_at
from teambus_team_runner.engine.party import Party, Surroundings
from teambus_team_runner.engine.state import State
from teambus_team_runner.engine.tools import as_text


async def run_member(
    party: Party, surroundings: Surroundings, task: str, state: State
) -> MemberResult:
    answering = Answering(party, surroundings, state, run_member)
    output = member_output(party, surroundings, run_input(task, surroundings.start.media))
    journaled = _JournaledHooks(answering, party, surroundings)
    answering.close(output, await _attempt(answering, journaled, output))
    return MemberResult(
        output=output,
        content=as_text(output.content) if output.content else NO_RESPONSE,
        state=None if answering.state == state else answering.state,
        started_at=started_at(party, answering.held),
        ended_at=ended_at(party, answering.held),
    )


async def _attempt(
    answering: Answering, hooks: "_JournaledHooks", output: RunOutput
) -> Failure | Cut | None:
    try:
        answering.begin()
        asked = await hooks.before(output)
        failure = await answering.speak(output, asked, history=())
        if failure is None:
            await hooks.after(output)
    except CheckError as error:
        answering.withdraw(output)
        return refusal(error)
    except RunCancelled as cancelled:
        return Cut(str(cancelled))
    return failure


class _JournaledHooks:
    """A member's hooks as steps.

    What they made of input and answer is recorded like a tool's result, so that a run taken over
    neither calls them again nor goes another way.
    """

    def __init__(self, answering: Answering, party: Party, surroundings: Surroundings) -> None:
        self._answering = answering
        self._path = party.path
        self._steps = surroundings.steps
        self._called = False

    async def before(self, output: RunOutput) -> str:
        assert output.input is not None
        asked = output.input
        if not self._answering.hooks.has_pre:
            return asked.input_content

        async def call() -> ToolResult:
            state = await self._answering.hooks.before(asked, self._answering.state)
            return ToolResult(content=asked.input_content, session_state=state)

        key = digest(asked.input_content.encode())
        asked.input_content = await self._step("pre_hooks", key, call)
        if not self._called:
            self._answering.hooks.retell_before(asked)
        return asked.input_content

    async def after(self, output: RunOutput) -> None:
        if not self._answering.hooks.has_post:
            return

        async def call() -> ToolResult:
            state = await self._answering.hooks.after(output, self._answering.state)
            return ToolResult(content=as_text(output.content), session_state=state)

        await self._steps.settled()
        key = digest(as_text(output.content).encode())
        output.content = await self._step("post_hooks", key, call)
        if not self._called:
            self._answering.hooks.retell_after()

    async def _step(self, place: str, key: str, call: Callable[[], Awaitable[ToolResult]]) -> str:
        self._called = False

        async def noted() -> ToolResult:
            self._called = True
            return await call()

        result = (await self._steps.tool(f"{self._path}/{place}", key, noted)).result
        self._answering.state = result.session_state or {}
        return result.content
