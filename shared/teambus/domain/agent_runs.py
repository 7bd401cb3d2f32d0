"""The two forms of a run of an agent by itself: as the bus carries it, and as people read it.

On the bus all runs have one form. Who asked an agent, over HTTP or by a hook, knows no team.
"""

from teambus.contracts.ids import TeamId
from teambus.contracts.output import RunOutput, TeamRunOutput

_ALIKE = tuple(set(RunOutput.__struct_fields__) & set(TeamRunOutput.__struct_fields__))
_OF_TEAMS = {"team_id": None, "team_name": None, "member_responses": None}


def read_form(carried: TeamRunOutput) -> RunOutput:
    """An agent's run without what only teams have."""
    fields = {name: getattr(carried, name) for name in _ALIKE} | _OF_TEAMS
    return RunOutput(**fields | {"agent_id": carried.agent_id or carried.team_id})


def carried_form(output: RunOutput, agent_id: TeamId) -> TeamRunOutput:
    """The same run in the words of the bus."""
    fields = {name: getattr(output, name) for name in _ALIKE}
    ids = {"team_id": agent_id, "team_name": None, "agent_id": agent_id}
    return TeamRunOutput(**fields | ids | {"member_responses": []})
