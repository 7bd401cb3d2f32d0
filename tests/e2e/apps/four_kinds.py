"""A team whose own hook and whose member's hook run in the background; another hook comes later."""

import os
from pathlib import Path

from teambus import (
    Agent,
    AsyncSqliteDb,
    Delivery,
    OpenAIChat,
    RunOutput,
    Team,
    TeamBus,
    TeamRunOutput,
    hook,
)

FOLDER = Path(os.environ["TEST_FOLDER"])


def note(*words: str) -> None:
    """One line in one write, so that lines of several processes do not mix."""
    with Path(os.environ["HOOK_LOG"]).open("a") as log:
        log.write(" ".join(words) + "\n")


@hook(run_in_background=True, name="of-team")
def of_team(run_output: TeamRunOutput, delivery: Delivery) -> None:
    note("of-team", run_output.run_id, run_output.status)


@hook(run_in_background=True, name="of-member")
def of_member(run_output: RunOutput, delivery: Delivery) -> None:
    note("of-member", str(run_output.parent_run_id), run_output.status)


@hook(run_in_background=True, name="of-all-times", replay="all")
def of_all_times(run_output: TeamRunOutput) -> None:
    note("of-all-times", run_output.run_id)


@hook(run_in_background=True, name="of-now", replay="new")
def of_now(run_output: TeamRunOutput) -> None:
    note("of-now", run_output.run_id)


is_later = (FOLDER / "later").exists()
team = Team(
    id="content-team",
    model=OpenAIChat(id="gpt-5.2"),
    members=[Agent(name="Writer", instructions="Write prose.", post_hooks=[of_member])],
    db=AsyncSqliteDb(db_file=str(FOLDER / "team.db")),
    post_hooks=[of_team, *([of_all_times, of_now] if is_later else [])],
)
app = TeamBus(id="four", teams=[team])
