"""The messages of a conversation, with ids and times that a replay makes again."""

from typing import Any

from teambus.contracts.journal import ModelAnswer
from teambus.contracts.output import ChatMessage, TeamRunInput, ToolCall
from teambus_team_runner.engine.party import Party


class Transcript:
    """All messages so far, in the order a model reads them; history counts but is not kept."""

    def __init__(self, party: Party) -> None:
        self._party = party
        self.messages: list[ChatMessage] = []

    @property
    def own(self) -> list[ChatMessage]:
        """The messages of this run alone."""
        return [message for message in self.messages if not message.from_history]

    def open(self, prompt: str | None, history: list[ChatMessage], asked: TeamRunInput) -> None:
        at = self._party.created_at
        if prompt is not None:
            self._add("system", at, content=prompt)
        self.messages.extend(history)
        self._add(
            "user",
            at,
            content=asked.input_content,
            images=asked.images,
            audio=asked.audios,
            videos=asked.videos,
            files=asked.files,
        )

    def take_up(
        self, kept: list[ChatMessage], history: list[ChatMessage], message: str | None
    ) -> None:
        """Begin with what is kept of another run, history after its instructions."""
        instructions = kept[:1] if kept and kept[0].role == "system" else []
        self.messages = [*instructions, *history, *kept[len(instructions) :]]
        if message is not None:
            self._add("user", self._party.created_at, content=message)

    def answered(self, answer: ModelAnswer, calls: list[ToolCall], at: float) -> None:
        self._add(
            "assistant",
            int(at),
            content=answer.content,
            tool_calls=calls or None,
            provider_data=answer.provider_data,
            metrics=answer.metrics,
        )

    def told(
        self,
        call: ToolCall,
        arguments: dict[str, Any],
        content: str,
        *,
        error: bool,
        ended_at: float,
    ) -> None:
        """Add what a tool call came to."""
        self._add(
            "tool",
            int(ended_at),
            content=content,
            tool_call_id=call.id,
            tool_name=call.function.name,
            tool_args=arguments,
            tool_call_error=error,
        )

    def withdraw_answer(self) -> None:
        """Forget the last answer, which a check refused."""
        if self.messages and self.messages[-1].role == "assistant":
            self.messages.pop()

    def _add(self, role: str, at: int, **fields: Any) -> None:
        message = ChatMessage(
            id=self._party.message_id(str(len(self.messages))),
            role=role,
            from_history=False,
            stop_after_tool_call=False,
            created_at=at,
            **fields,
        )
        self.messages.append(message)
