"""What a hook is given: the finished run and what belongs to it."""

from collections.abc import Iterator
from typing import Any

import msgspec

from teambus.app.agents import Agent
from teambus.app.contexts import Delivery, RunContext, Session
from teambus.app.hooks import BackgroundHook
from teambus.app.injection import bind
from teambus.app.teambus import TeamBus
from teambus.app.teams import Team
from teambus.contracts.message import decode
from teambus.contracts.output import RunOutput, TeamRunInput, TeamRunOutput
from teambus.contracts.run import RunCompleted
from teambus.domain.agent_runs import read_form
from teambus.domain.hearing import member_runs
from teambus_hook_runner.wire import Call

_sessions = msgspec.json.Decoder(Session)


def arguments(app: TeamBus, hook: BackgroundHook, call: Call) -> list[dict[str, Any]]:
    """The keyword arguments of each time the hook is called for this delivery.

    Once for the team's or agent's run; a member's hook once for each of its runs that it wants,
    each under an idempotency key of its own.
    """
    event = decode(RunCompleted, call.event)
    common = {
        "session": None if call.session is None else _session(app, call.session),
        "user_id": event.output.user_id,
        **({"completed": event} if hook.webhook else {}),
    }
    return [
        bind(hook.function, {**common, **_of_run(event, run, _delivery(hook, call, run)), **owner})
        for run, owner in _subjects(app, hook, event)
    ]


def _delivery(hook: BackgroundHook, call: Call, run: TeamRunOutput | RunOutput) -> Delivery:
    of_member = run.run_id if hook.members else None
    return Delivery(
        id=call.delivery_id, attempt=call.attempt, hook=hook.name, member_run_id=of_member
    )


def _subjects(
    app: TeamBus, hook: BackgroundHook, event: RunCompleted
) -> Iterator[tuple[TeamRunOutput | RunOutput, dict[str, Any]]]:
    """The runs to call the hook for, each with the object the run is of."""
    asked = app.component(event.team_id)
    if isinstance(asked, Agent):
        yield read_form(event.output), {"agent": asked}
        return
    if not hook.members:
        yield event.output, {"team": asked}
        return
    for run in member_runs(event.output, hook.members, hook.options.on):
        member = asked.member(run.agent_id or run.team_id or "") if asked else None
        yield run, {("team" if isinstance(member, Team) else "agent"): member}


def _session(app: TeamBus, stored: bytes) -> Session:
    """Sessions are stored under one id, whether a team's or an agent's."""
    session = _sessions.decode(stored)
    if isinstance(app.component(session.team_id or ""), Agent):
        session.agent_id, session.team_id = session.team_id, None
    return session


def _of_run(
    event: RunCompleted, run: TeamRunOutput | RunOutput, delivery: Delivery
) -> dict[str, Any]:
    return {
        "delivery": delivery,
        "run_output": run,
        "run_input": run.input or TeamRunInput(input_content=""),
        "metadata": run.metadata,
        "run_context": RunContext(
            run_id=run.run_id,
            session_id=event.session_id,
            user_id=event.output.user_id,
            session_state=run.session_state,
            dependencies=event.dependencies,
            metadata=run.metadata,
            idempotency_key=delivery.idempotency_key,
        ),
    }
