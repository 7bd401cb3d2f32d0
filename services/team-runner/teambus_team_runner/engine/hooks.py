"""Foreground hooks: called in order around a party's answer, able to refuse it."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from teambus.app.contexts import RunContext, Session
from teambus.app.errors import CheckError
from teambus.app.hooks import ForegroundHook, foreground_hooks
from teambus.app.injection import bind
from teambus.app.teams import Team
from teambus.contracts.output import RunOutput, TeamRunInput, TeamRunOutput
from teambus_team_runner.engine.context import run_context
from teambus_team_runner.engine.party import Party, Surroundings
from teambus_team_runner.engine.state import State, changed
from teambus_team_runner.engine.users import UserCall, UserFunctionFailed, call_user
from teambus_team_runner.engine.voice import Voice

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Hooks:
    """The hooks of one party. A hook that fails is logged and passed over; a check refuses."""

    party: Party
    surroundings: Surroundings
    voice: Voice

    @property
    def has_pre(self) -> bool:
        return bool(self.party.who.pre_hooks)

    @property
    def has_post(self) -> bool:
        return bool(foreground_hooks(self.party.who).post)

    async def before(self, asked: TeamRunInput, state: State) -> State:
        """Call the pre-hooks, which may change `asked`; gives the state they leave.

        Raises `CheckError`.
        """
        context = run_context(self.party, self.surroundings, state)
        for n, hook in enumerate(foreground_hooks(self.party.who).pre):
            fields = {"pre_hook_name": hook.name, "run_input": asked}
            self.voice.says("PreHookStarted", **fields)
            context.idempotency_key = self._key(f"pre_hooks/{n}")
            await self._call(hook, context, {"run_input": asked})
            self.voice.says("PreHookCompleted", **fields)
        return _left(state, context)

    def retell_before(self, asked: TeamRunInput) -> None:
        """Say again what an earlier attempt said of its pre-hooks, which are not called again."""
        for hook in foreground_hooks(self.party.who).pre:
            fields = {"pre_hook_name": hook.name, "run_input": asked}
            self.voice.says("PreHookStarted", **fields)
            self.voice.says("PreHookCompleted", **fields)

    def retell_after(self) -> None:
        for hook in foreground_hooks(self.party.who).post:
            self.voice.says("PostHookStarted", post_hook_name=hook.name)
            self.voice.says("PostHookCompleted", post_hook_name=hook.name)

    async def after(self, output: RunOutput | TeamRunOutput, state: State) -> State:
        """Call the post-hooks, which may change `output`; gives the state they leave.

        Raises `CheckError`.
        """
        context = run_context(self.party, self.surroundings, state)
        for n, hook in enumerate(foreground_hooks(self.party.who).post):
            self.voice.says("PostHookStarted", post_hook_name=hook.name)
            context.idempotency_key = self._key(f"post_hooks/{n}")
            before = msgspec.structs.replace(output)
            await self._call(hook, context, {"run_output": output, "run_input": output.input})
            _keep_sendable(output, before, hook.name)
            self.voice.says("PostHookCompleted", post_hook_name=hook.name)
        return _left(state, context)

    async def _call(self, hook: ForegroundHook, context: RunContext, own: dict[str, Any]) -> None:
        call = UserCall(
            hook.function,
            bind(hook.function, {**self._available(context), **own}),
            self.surroundings.limits.hook_timeout_s,
            lets_through=(CheckError,),
        )
        trace, key = self.surroundings.start.trace, context.idempotency_key or ""
        traced = None if trace is None else trace.hook(self.party.run_id, key, hook.name)
        try:
            async with traced or nullcontext():
                await call_user(call, self.surroundings.threads)
        except UserFunctionFailed as failure:
            log.error(
                "hook failed, the run goes on",
                hook=hook.name,
                run_id=self.party.run_id,
                reason=str(failure),
                exc_info=failure.__cause__,
            )

    def _key(self, place: str) -> str:
        return self.party.idempotency_key(self.surroundings.start.tenant, place)

    def _available(self, context: RunContext) -> dict[str, Any]:
        who, start = self.party.who, self.surroundings.start
        team = self.party.team
        session = Session(
            session_id=start.session_id,
            team_id=team.id if team else None,
            agent_id=None if team else who.id,
            user_id=start.user_id,
            session_state=context.session_state,
            metadata=start.metadata,
        )
        return {
            "run_context": context,
            "session": session,
            "user_id": start.user_id,
            "metadata": start.metadata,
            "team" if isinstance(who, Team) else "agent": who,
        }


def _left(state: State, context: RunContext) -> State:
    after = changed(state, context.session_state)
    return state if after is None else after


def _keep_sendable(
    output: RunOutput | TeamRunOutput, before: RunOutput | TeamRunOutput, hook: str
) -> None:
    """Take back what a hook made of the output when it could not be sent any more."""
    try:
        msgspec.json.encode(output)
    except (TypeError, ValueError, RecursionError) as error:
        log.error("a hook's change is ignored, JSON cannot carry it", hook=hook, reason=str(error))
        for name in output.__struct_fields__:
            setattr(output, name, getattr(before, name))
