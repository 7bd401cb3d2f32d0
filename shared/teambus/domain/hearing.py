"""Which completed runs a hook hears of, and which runs of members inside them."""

from collections.abc import Collection, Iterator

from teambus.contracts.catalogue import HookDescription
from teambus.contracts.output import RunOutput, TeamRunOutput
from teambus.domain.continuation import own_members


def wants(hook: HookDescription, output: TeamRunOutput) -> bool:
    """A member's hook goes by how the member's runs ended, not by how the team's did."""
    if hook.members:
        return any(True for _ in member_runs(output, hook.members, hook.on))
    return output.status in hook.on


def member_runs(
    output: TeamRunOutput | RunOutput, members: Collection[str], statuses: Collection[str]
) -> Iterator[RunOutput]:
    """Runs of these members that ended so, at any depth, in the order they were answered."""
    for run in own_members(output):
        if (run.agent_id or run.team_id) in members and run.status in statuses:
            yield run
        yield from member_runs(run, members, statuses)
