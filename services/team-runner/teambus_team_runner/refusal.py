"""Turning away a request whose run id belongs to another request."""

from collections.abc import Collection

from teambus.bus.events import Events
from teambus.contracts.ids import TeamId, completed_event_id
from teambus.contracts.run import RunRefused
from teambus_team_runner.asked import Asked, ended_early
from teambus_team_runner.metrics import count_early_end

RUN_ID_IN_USE = "run_id_in_use"


async def refuse_id_in_use(
    asked: Asked, owner: TeamId, events: Events, agents: Collection[TeamId]
) -> None:
    """Tell the asker, without touching the run that has the id.

    For another team's run id it is this team's own final word on that id; within one team the
    final word belongs to the run that has it, so a refusal is written beside it.
    """
    detail = f"run_id {asked.run_id!r} belongs to another request; choose a new one"
    end = ended_early(
        asked.tenant, asked.team_id, asked.run_id, code=RUN_ID_IN_USE, detail=detail, agents=agents
    )
    if owner != asked.team_id:
        if await events.complete(end):
            count_early_end(end)
        return
    await events.refuse(
        RunRefused(
            event_id=(
                f"{completed_event_id(asked.tenant, asked.team_id, asked.run_id)}"
                f":refused:{asked.request_seq}"
            ),
            tenant=asked.tenant,
            team_id=asked.team_id,
            run_id=asked.run_id,
            request_seq=asked.request_seq,
            code=RUN_ID_IN_USE,
            detail=detail,
        )
    )
