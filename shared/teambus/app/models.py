"""Which model answers, as plain data. The team-runner knows how to ask it."""

from typing import Any, ClassVar

from teambus.app.errors import DefinitionError
from teambus.app.options import at_least, definition, hidden


@definition("model")
class OpenAIChat:
    """A model behind OpenAI's chat completions API, or behind one that speaks it (`base_url`).

    Without `api_key`, `base_url` or `organization` the team-runner's own environment decides
    (`OPENAI_API_KEY`, `OPENAI_BASE_URL`, `OPENAI_ORG_ID`). `timeout` is in seconds, per try.
    """

    name: ClassVar[str] = "OpenAIChat"
    provider: ClassVar[str] = "OpenAI"

    id: str = ""
    api_key: str | None = hidden(default=None)
    base_url: str | None = hidden(default=None)
    organization: str | None = hidden(default=None)
    default_headers: dict[str, str] | None = hidden(default=None)
    extra_headers: dict[str, str] | None = hidden(default=None)
    temperature: float | None = at_least(0, default=None)
    top_p: float | None = at_least(0, default=None)
    max_tokens: int | None = at_least(1, default=None)
    max_completion_tokens: int | None = at_least(1, default=None)
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    reasoning_effort: str | None = None
    timeout: float | None = at_least(0.001, default=None)
    max_retries: int | None = at_least(0, default=None)
    request_params: dict[str, Any] | None = hidden(default=None)

    def __post_init__(self) -> None:
        if not self.id:
            raise DefinitionError('model without an id; write OpenAIChat(id="gpt-...")')
