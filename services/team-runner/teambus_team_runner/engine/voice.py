"""What a party says while it runs, in the names and field order that clients read."""

import time
from typing import Any

from teambus.app.teams import Team
from teambus.contracts.output import Metrics, ToolExecution
from teambus_team_runner.engine.failure import Failure
from teambus_team_runner.engine.party import Party, Surroundings


class Voice:
    """Emits a party's frames. Fields that are None are left out."""

    def __init__(self, party: Party, surroundings: Surroundings) -> None:
        self._frames = surroundings.frames
        self.is_heard = surroundings.frames.are_read and party.is_heard
        self._is_member = party.parent is not None
        self._is_team = isinstance(party.who, Team)
        self._prefix = "Team" if self._is_team else ""
        kind = "team" if self._is_team else "agent"
        self._base = {
            f"{kind}_id": party.who.id,
            f"{kind}_name": party.who.name,
            "run_id": party.run_id,
            "parent_run_id": party.parent and party.parent.run_id,
            "session_id": surroundings.start.session_id,
            "nested_depth": party.depth,
        }

    def says(self, event: str, **fields: Any) -> None:
        if self.is_heard:
            data = self.words(event, **fields)
            self._frames.emit(data["event"], data)

    def ends(self, event: str, **fields: Any) -> dict[str, Any]:
        """The party's last word. Who reads the run is given that of the run itself when it is
        decided and stored, so here only a member's is emitted.
        """
        data = self.words(event, **fields)
        if self._is_member and self.is_heard:
            self._frames.emit(data["event"], data)
        return data

    def says_content(self, content: str) -> None:
        fields = {} if self._is_team else {"workflow_agent": False}
        self.says("RunContent", content=content, content_type="str", **fields)

    def says_asked(self, model: str, provider: str) -> None:
        self.says("ModelRequestStarted", model=model, model_provider=provider)

    def says_answered(self, model: str, provider: str, metrics: Metrics) -> None:
        self.says(
            "ModelRequestCompleted",
            model=model,
            model_provider=provider,
            input_tokens=metrics.input_tokens,
            output_tokens=metrics.output_tokens,
            total_tokens=metrics.total_tokens,
            time_to_first_token=metrics.time_to_first_token,
            reasoning_tokens=metrics.reasoning_tokens,
            cache_read_tokens=metrics.cache_read_tokens,
            cache_write_tokens=0,
        )

    def says_tool_done(self, tool: ToolExecution) -> None:
        duration_s = (tool.metrics and tool.metrics.duration) or 0
        arguments = ", ".join(f"{name}={value}" for name, value in tool.tool_args.items())
        text = f"{tool.tool_name}({arguments}) completed in {duration_s:.4f}s. "
        self.says("ToolCallCompleted", tool=tool, content=text)

    def ends_in_error(self, failure: Failure) -> dict[str, Any]:
        return self.ends(
            "RunError",
            content=failure.text,
            error_type=failure.code,
            error_id=failure.trigger,
            additional_data=failure.additional_data,
        )

    def words(self, event: str, **fields: Any) -> dict[str, Any]:
        """The event as it is said."""
        name = self._prefix + event
        given = {"created_at": int(time.time()), "event": name, **self._base, **fields}
        return {key: value for key, value in given.items() if value is not None}
