"""The teams and agents that both peers serve, declared once for either library.

`library` is teambus, or the same names of Agno. Annotations stay `Any` where the libraries have
types of their own: both inject by name.
"""

import os
from pathlib import Path
from typing import Any

DB_ID = "office-db"


def look_up(topic: str) -> str:
    """Look a topic up in the encyclopaedia.

    Args:
        topic: What to look up.
    """
    return f"{topic}: see page 7"


def count_words(text: str) -> int:
    """Count the words of a text.

    Args:
        text: The text.
    """
    return len(text.split())


def note_asked(run_input: Any) -> None:
    """A foreground pre-hook."""
    assert run_input.input_content


def note_answered(run_output: Any) -> None:
    """A foreground post-hook."""
    assert run_output.run_id


async def note_later(run_output: Any) -> None:
    """A background post-hook."""
    assert run_output.run_id


def database(library: Any) -> Any:
    return library.AsyncSqliteDb(
        id=DB_ID,
        db_file=str(Path(os.environ["TEST_FOLDER"]) / "office.db"),
        session_table="office_sessions",
    )


def office(library: Any) -> tuple[list[Any], list[Any]]:
    """The teams and the agents."""
    db = database(library)
    model = library.OpenAIChat(id="gpt-5.2")
    teams = [_content_team(library, model, db), _strict_team(library, model, db)]
    return teams, [_assistant(library, model, db)]


def config(library: Any) -> Any:
    """What chats offer, and how the agent is shown."""
    prompts = {"content-team": ["Write about tea", "Write about rain"], "assistant": ["Help me"]}
    shown = library.Manifest(description="At the front desk.", labels=["help"])
    return library.AgentOSConfig(
        chat=library.ChatConfig(quick_prompts=prompts), manifest={"assistant": shown}
    )


def _assistant(library: Any, model: Any, db: Any) -> Any:
    return library.Agent(
        id="assistant",
        name="Assistant",
        role="helps",
        description="Helps with anything.",
        model=model,
        instructions="Be of help.",
        tools=[look_up],
        db=db,
        metadata={"desk": "front"},
        pre_hooks=[note_asked],
        post_hooks=[note_answered],
    )


def _content_team(library: Any, model: Any, db: Any) -> Any:
    return library.Team(
        id="content-team",
        name="ContentTeam",
        description="Writes about anything.",
        model=model,
        members=[
            library.Agent(
                name="Researcher", role="finds facts", instructions="Give facts.", tools=[look_up]
            ),
            library.Agent(name="Writer", role="writes", instructions="Write prose."),
        ],
        instructions="Coordinate the two.",
        tools=[count_words],
        db=db,
        session_state={"articles": 0},
        metadata={"desk": "news"},
        pre_hooks=[note_asked],
        post_hooks=[note_answered, library.hook(run_in_background=True)(note_later)],
        markdown=True,
    )


def _strict_team(library: Any, model: Any, db: Any) -> Any:
    def refuse_secrets(run_input: Any) -> None:
        if "secret" in str(run_input.input_content):
            trigger = library.CheckTrigger.INPUT_NOT_ALLOWED
            raise library.InputCheckError("not about secrets", check_trigger=trigger)

    return library.Team(
        id="strict-team",
        model=model,
        members=[library.Agent(name="Clerk", instructions="Be brief.")],
        instructions=["Be strict.", "Be short."],
        db=db,
        pre_hooks=[refuse_secrets],
    )
