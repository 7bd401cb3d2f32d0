"""Sessions to ask questions about, and a look at what the database was told to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from teambus.contracts.output import (
    Metrics,
    RunOutput,
    RunStatus,
    TeamRunInput,
    TokenDetails,
    ToolExecution,
)
from teambus.contracts.sessions_api import SessionsQuestion
from teambus_team_runner.sessions import RunWrite, SessionStore
from teambus_team_runner.sessions.sqlite import SqliteConnection
from tests.integration.session_runs import run_write

A = TypeVar("A")


async def ask(store: SessionStore, question: SessionsQuestion[Any]) -> Any:
    return await store.answer("default", question)


async def told(store: SessionStore, question: SessionsQuestion[A]) -> A:
    answer: A | None = await ask(store, question)
    assert answer is not None, question
    return answer


def spent(tokens: int, model: str = "gpt-5.2") -> Metrics:
    details = TokenDetails(
        id=model, provider="OpenAI", input_tokens=tokens, output_tokens=1, total_tokens=tokens + 1
    )
    return Metrics(
        input_tokens=tokens,
        output_tokens=1,
        total_tokens=tokens + 1,
        duration=0.5,
        details={"model": [details]},
    )


def member(run_id: str, of: str, session_id: str = "s1", **changes: Any) -> RunOutput:
    fields: dict[str, Any] = {
        "run_id": run_id,
        "parent_run_id": of,
        "session_id": session_id,
        "agent_id": "writer",
        "status": RunStatus.COMPLETED,
        "created_at": 1_700_000_000,
        "input": TeamRunInput(input_content="a task"),
        "content": "a member's words",
        "metrics": spent(5),
    }
    return RunOutput(**(fields | changes))


def team_run(run_id: str, fence: int, session_id: str = "s1", **changes: Any) -> RunWrite:
    """A run whose leader used 11 tokens and gave one task to a member, who used 6."""
    of_member = f"{run_id}-member"
    fields: dict[str, Any] = {
        "member_responses": [member(of_member, run_id, session_id)],
        "metrics": spent(10),
        "tools": [
            ToolExecution(tool_call_id="c", tool_name="ask", tool_args={}, child_run_id=of_member)
        ],
        "events": [{"event": "TeamRunStarted", "run_id": run_id, "session_id": session_id}],
    }
    return run_write(run_id, fence, session_id, **(fields | changes))


@contextmanager
def statements_heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[sa.Select[Any]]]:
    """Every reading statement that a connection is given inside the block."""
    heard: list[sa.Select[Any]] = []
    rows = SqliteConnection.rows

    def listen(
        self: SqliteConnection, statement: sa.Select[Any], values: dict[str, Any]
    ) -> list[sa.Row[Any]]:
        heard.append(statement)
        return rows(self, statement, values)

    with monkeypatch.context() as patch:
        patch.setattr(SqliteConnection, "rows", listen)
        yield heard
