"""Which runs inside a completed run a member's hook is called for."""

from teambus.contracts.output import RunOutput, RunStatus, TeamRunOutput
from teambus.domain.hearing import member_runs


def member(run_id: str, parent: str, *inner: RunOutput) -> RunOutput:
    return RunOutput(
        run_id=run_id,
        status=RunStatus.COMPLETED,
        created_at=1,
        parent_run_id=parent,
        agent_id="writer",
        member_responses=list(inner),
    )


def run(run_id: str, *members: RunOutput) -> TeamRunOutput:
    return TeamRunOutput(
        run_id=run_id,
        team_id="desk",
        session_id="s",
        status=RunStatus.COMPLETED,
        created_at=1,
        content_type="str",
        member_responses=list(members),
    )


def heard_of(output: TeamRunOutput) -> list[str]:
    return [each.run_id for each in member_runs(output, {"writer"}, {"COMPLETED"})]


def test_a_hook_hears_of_members_at_any_depth() -> None:
    assert heard_of(run("r-1", member("m-1", "r-1", member("m-2", "m-1")))) == ["m-1", "m-2"]


def test_a_hook_does_not_hear_again_of_what_a_run_took_over_from_another() -> None:
    taken_over = member("m-1", "r-1", member("m-2", "m-1"))
    assert heard_of(run("r-2", taken_over, member("m-3", "r-2"))) == ["m-3"]
