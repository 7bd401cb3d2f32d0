"""Rules that make the model say, delay, refuse or break something for chosen calls.

The first rule that matches and is not spent wins. A rule that could not do what it says is
refused when it is given, not when it would have applied.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from teambus.testing.model.script import Answer, scripted_answer, tool_turn
from teambus.testing.model.wire import ApiError, ChatRequest, FinishReason, FunctionCall

Count = Annotated[int, msgspec.Meta(ge=1)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=3_600_000)]
ErrorStatus = Annotated[int, msgspec.Meta(ge=400, le=599)]


class RuleError(ValueError):
    """Names the mistake in a rule."""


class ScriptedToolCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments given as a string are sent as they are, valid or not."""

    name: str
    arguments: dict[str, object] | str = msgspec.field(default_factory=dict)

    def as_function_call(self) -> FunctionCall:
        if isinstance(self.arguments, str):
            return FunctionCall(self.name, self.arguments)
        return FunctionCall(self.name, msgspec.json.encode(self.arguments).decode())


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which calls it applies to, then what happens to them.

    Every text of `match` must occur in some message; an empty one occurs in all. `hold`,
    `delay_ms` and `chunk_delay_ms` say when, and go with any answer; without one, the default
    script answers.
    """

    match: str | list[str]
    model: str | None = None
    has_tool_results: bool | None = None
    skip: Annotated[int, msgspec.Meta(ge=0)] = 0
    times: Count | None = None

    delay_ms: Milliseconds = 0
    chunk_delay_ms: Milliseconds = 0
    hold: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_.-]+$")] | None = None

    reply: str | None = None
    tool_calls: Annotated[list[ScriptedToolCall], msgspec.Meta(min_length=1)] | None = None
    finish_reason: FinishReason | None = None
    drop_midway: bool = False

    status: ErrorStatus | None = None
    error: str | None = None
    error_code: str | None = None
    retry_after_s: Annotated[float, msgspec.Meta(ge=0)] | None = None
    garbage: bool = False
    drop: bool = False
    hang: bool = False

    def mistake(self) -> str | None:
        endings = self._chosen("status", "garbage", "drop", "hang")
        speech = self._chosen("reply", "tool_calls", "finish_reason", "drop_midway")
        timing = self._chosen("delay_ms", "chunk_delay_ms", "hold")
        details = self._chosen("error", "error_code", "retry_after_s")
        if details and self.status is None:
            return f"`{details[0]}` needs `status`"
        if len(endings) > 1:
            return f"`{endings[0]}` and `{endings[1]}` exclude each other"
        if endings and speech:
            return f"`{endings[0]}` and `{speech[0]}` exclude each other"
        if not (endings or speech or timing):
            return "it has no action; give `reply`, `tool_calls`, `status`, `delay_ms` or another"
        return None

    @property
    def takes_steps(self) -> bool:
        """Whether there is more to it than one answer after a delay."""
        return bool(self.hold or self.chunk_delay_ms or self.hang or self.drop or self.drop_midway)

    @property
    def is_spoken(self) -> bool:
        """Whether the model says something; it may also be late, or break off."""
        return self.status is None and not (self.garbage or self.drop or self.hang)

    def matches(self, request: ChatRequest) -> bool:
        if self.model is not None and self.model != request.model:
            return False
        if self.has_tool_results not in (None, request.has_tool_results):
            return False
        needles = [self.match] if isinstance(self.match, str) else self.match
        texts = [message.text for message in request.messages]
        return all(any(needle in text for text in texts) for needle in needles)

    def api_error(self) -> ApiError | None:
        if self.status is None:
            return None
        message = self.error or f"the script answers this call with status {self.status}"
        return ApiError(
            self.status, message, code=self.error_code, retry_after_s=self.retry_after_s
        )

    def answer(self, request: ChatRequest) -> Answer:
        answer = self._own_answer() or scripted_answer(request)
        if self.finish_reason is None:
            return answer
        return Answer(answer.text, answer.calls, self.finish_reason)

    def _own_answer(self) -> Answer | None:
        if self.tool_calls:
            return tool_turn(tuple(c.as_function_call() for c in self.tool_calls), self.reply)
        return None if self.reply is None else Answer(text=self.reply)

    def _chosen(self, *names: str) -> list[str]:
        return [name for name in names if getattr(self, name) not in (None, False, 0)]


class RuleBook:
    """The rules in force and how often each has been used."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self.rules = tuple(rules)
        self._matched = [0] * len(self.rules)

    def take(self, request: ChatRequest) -> Rule | None:
        """The rule for this call. Counts it as used."""
        for at, rule in enumerate(self.rules):
            if rule.matches(request) and self._use(at, rule):
                return rule
        return None

    def holds(self) -> set[str]:
        return {rule.hold for rule in self.rules if rule.hold}

    def _use(self, at: int, rule: Rule) -> bool:
        used = self._matched[at] - rule.skip
        if rule.times is not None and used >= rule.times:
            return False
        self._matched[at] += 1
        return used >= 0


def parse_rules(body: bytes) -> RuleBook:
    try:
        rules = msgspec.json.decode(body, type=list[Rule])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RuleError(f"the rules are not a list of rules: {error}") from None
    for at, rule in enumerate(rules):
        if mistake := rule.mistake():
            raise RuleError(f"rule {at} (match {rule.match!r}): {mistake}")
    return RuleBook(rules)
