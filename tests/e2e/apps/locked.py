"""An app that uses every right that services have: history, a hook that asks, one that dies."""

import os
from pathlib import Path

from teambus import (
    Agent,
    AsyncSqliteDb,
    Delivery,
    OpenAIChat,
    Session,
    Team,
    TeamBus,
    TeamRunOutput,
    hook,
)

FOLDER = Path(os.environ["TEST_FOLDER"])


def note(line: str) -> None:
    """One line in one write, so that lines of several processes do not mix."""
    with Path(os.environ["HOOK_LOG"]).open("a") as log:
        log.write(line + "\n")


@hook(run_in_background=True, name="teller", attempts_max=3, backoff_s=0.1)
async def teller(run_output: TeamRunOutput, session: Session, delivery: Delivery) -> None:
    note(f"teller {run_output.run_id} {run_output.status} {session.session_id}")


@hook(run_in_background=True, name="fragile", attempts_max=2, backoff_s=0.1)
async def fragile(run_output: TeamRunOutput) -> None:
    if not (FOLDER / "mended").exists():
        raise ValueError("not before somebody mends it")
    note(f"fragile {run_output.run_id}")


content_team = Team(
    id="content-team",
    name="ContentTeam",
    model=OpenAIChat(id="gpt-5.2"),
    members=[Agent(name="Researcher"), Agent(name="Writer")],
    db=AsyncSqliteDb(db_file=str(FOLDER / "team.db")),
    add_history_to_context=True,
    post_hooks=[teller, fragile],
)

teambus = TeamBus(id="locked", teams=[content_team])
