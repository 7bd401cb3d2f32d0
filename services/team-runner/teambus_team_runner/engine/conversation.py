"""A party's turns: ask the model, do what it calls for, ask again, until it answers or fails."""

import time
from dataclasses import replace

import msgspec

from teambus.contracts.journal import ModelAnswer, ModelAnswered
from teambus.contracts.output import ChatMessage, Metrics, RunOutput, ToolCall, ToolExecution
from teambus_team_runner.engine.calls import (
    CallResult,
    Calls,
    RunMember,
    Turn,
    cut,
    execution_of,
    told,
)
from teambus_team_runner.engine.cancellation import RunCancelled
from teambus_team_runner.engine.failure import (
    MODEL_MISSING,
    TURNS_EXCEEDED,
    Failure,
    failed_answer,
    failure_in,
)
from teambus_team_runner.engine.hearing import Hearing
from teambus_team_runner.engine.party import Party, Surroundings
from teambus_team_runner.engine.ports import Continued
from teambus_team_runner.engine.state import State, merged
from teambus_team_runner.engine.together import together
from teambus_team_runner.engine.tools import arguments_shown
from teambus_team_runner.engine.tracing import StepTrace
from teambus_team_runner.engine.transcript import Transcript
from teambus_team_runner.engine.voice import Voice
from teambus_team_runner.models.port import (
    BeforeTry,
    Model,
    ModelError,
    ModelRequest,
    request_digest,
)


class Conversation:
    """Holds one party's conversation. What it has come to so far is kept when it fails, and of an
    answer that was cut what was heard; `failed` is the answer that was an error.
    """

    def __init__(
        self, party: Party, surroundings: Surroundings, state: State, run_member: RunMember
    ) -> None:
        self.transcript = Transcript(party)
        self.state = state
        self.answers: list[ModelAnswered] = []
        self.failed: ModelAnswered | None = None
        self.executions: list[ToolExecution] = []
        self.responses: list[RunOutput] = []
        self.so_far = ""
        self._party = party
        self._surroundings = surroundings
        self._voice = Voice(party, surroundings)
        self._calls = Calls(party, run_member)
        self._call_ids: set[str] = set()
        self._calls_made = 0

    def take_up(
        self, continued: Continued, history: list[ChatMessage], message: str | None
    ) -> None:
        """Begin where another run was left; its calls and members' runs are this one's as well."""
        self.transcript.take_up(continued.messages, history, message)
        self.executions += continued.tools
        self.responses += continued.responses
        self._call_ids |= {call.id for each in continued.messages for call in each.tool_calls or []}

    async def hold(self) -> str | Failure | None:
        """The final answer, None when it is empty, or why there is none."""
        declared = self._party.model
        if declared is None:
            who = self._party.who
            text = f"{who.name!r} has no model and no team above it has; give it model=OpenAIChat"
            return Failure(MODEL_MISSING, f'{text}(id="...")')
        model = self._surroundings.models.of(declared)
        turns_max = self._surroundings.limits.turns_max
        for number in range(turns_max):
            answered = await self._ask(model, number)
            if failure := failure_in(answered.answer):
                self.failed = answered
                return failure
            calls = self._note(answered)
            if not calls:
                return answered.answer.content
            await self._carry_out(number, answered.at, calls)
        text = f"{self._party.who.name!r} called tools in {turns_max} turns without answering"
        return Failure(TURNS_EXCEEDED, text)

    async def _ask(self, model: Model, number: int) -> ModelAnswered:
        request = ModelRequest(self.transcript.messages, self._calls.tools())
        hearing = Hearing(self._voice, model)

        async def call(before_try: BeforeTry) -> ModelAnswer:
            clock = time.perf_counter()
            try:
                return await model.answer(request, hearing.announcing(before_try), hearing.heard)
            except ModelError as error:
                return failed_answer(error, time.perf_counter() - clock)

        await self._surroundings.frames.room()
        self._voice.says_asked(model.id, model.provider)
        path, key = self._party.step(number), request_digest(model, request)
        traced = self._traced(path, key)
        try:
            asking = call if traced is None else traced.around(call)
            answered = await self._surroundings.steps.model(path, key, asking)
        except RunCancelled:
            self.so_far = hearing.so_far
            if traced is not None:
                traced.cut(f"chat {model.id}")
            raise
        if traced is not None:
            traced.asked(model, request, answered, failure_in(answered.answer))
        if failure_in(answered.answer) is None:
            if rest := hearing.rest_of(answered.answer.content):
                self._voice.says_content(rest)
            metrics = answered.answer.metrics or Metrics()
            self._voice.says_answered(model.id, model.provider, metrics)
        return answered

    def _traced(self, path: str, key: str) -> StepTrace | None:
        trace = self._surroundings.start.trace
        return None if trace is None else trace.step(self._party.run_id, path, key)

    def _note(self, answered: ModelAnswered) -> list[ToolCall]:
        calls = [self._unique(call) for call in answered.answer.tool_calls]
        self.answers.append(answered)
        self.transcript.answered(answered.answer, calls, answered.at)
        return calls

    def _unique(self, call: ToolCall) -> ToolCall:
        """The call under an id of its own, for some providers repeat theirs or give none."""
        id_ = base = call.id or "call"
        n = 1
        while id_ in self._call_ids:
            n += 1
            id_ = f"{base}-{n}"
        self._call_ids.add(id_)
        return call if id_ == call.id else msgspec.structs.replace(call, id=id_)

    async def _carry_out(self, number: int, at: float, calls: list[ToolCall]) -> None:
        turn = Turn(
            party=self._party,
            surroundings=self._surroundings,
            number=number,
            at=at,
            state=self.state,
        )
        counted = self._counted(calls)
        for n, call in counted:
            self._announce(turn, call, n)
        results = await together([self._result(turn, call, n) for n, call in counted])
        for result in results:
            self._take(result)
        self.state = merged(self.state, [(each.ended_at, each.state) for each in results])
        if any(result.cut for result in results):
            raise RunCancelled(self._surroundings.steps.cancellation.reason)

    def _counted(self, calls: list[ToolCall]) -> list[tuple[int, ToolCall]]:
        first = self._calls_made + 1
        self._calls_made += len(calls)
        return list(enumerate(calls, first))

    def _is_allowed(self, n: int) -> bool:
        limit = self._party.who.tool_call_limit
        return limit is None or n <= limit

    def _announce(self, turn: Turn, call: ToolCall, n: int) -> None:
        if self._is_allowed(n):
            shown = arguments_shown(call.function.arguments)
            self._voice.says("ToolCallStarted", tool=execution_of(call, shown, turn.at))

    async def _result(self, turn: Turn, call: ToolCall, n: int) -> CallResult:
        if not self._is_allowed(n):
            limit = self._party.who.tool_call_limit
            text = f"Not called: only {limit} tool calls are allowed. Answer with what you have."
            return replace(told(turn, call, text), execution=None)
        try:
            return await self._calls.carry_out(turn, call)
        except RunCancelled:
            # The calls beside it keep what they have come to.
            return cut(turn, call)

    def _take(self, result: CallResult) -> None:
        if result.response is not None:
            self.responses.append(result.response)
        if result.cut:
            return
        execution = result.execution
        self.transcript.told(
            result.call,
            result.arguments,
            result.content,
            error=result.error,
            ended_at=result.ended_at,
        )
        if execution is not None:
            self.executions.append(execution)
            self._voice.says_tool_done(execution)
            if result.error:
                self._voice.says("ToolCallError", tool=execution, error=result.content)
