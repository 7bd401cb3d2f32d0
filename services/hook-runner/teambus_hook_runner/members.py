"""The runs inside a completed run that a member's hook is called for."""

from collections.abc import Collection, Iterator

from teambus.contracts.output import RunOutput, TeamRunOutput
from teambus.domain.continuation import own_members


def member_runs(
    output: TeamRunOutput | RunOutput, members: Collection[str], statuses: Collection[str]
) -> Iterator[RunOutput]:
    """Runs of these members that ended so, at any depth, in the order they were answered."""
    for run in own_members(output):
        if (run.agent_id or run.team_id) in members and run.status in statuses:
            yield run
        yield from member_runs(run, members, statuses)
