"""From the models users declare to models that answer."""

from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from teambus.app.models import OpenAIChat
from teambus_team_runner.models.clients import Account, Clients
from teambus_team_runner.models.limits import ModelLimits
from teambus_team_runner.models.openai_chat import ChatModel
from teambus_team_runner.models.port import MediaSource

_PARAMETERS = (
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
    "reasoning_effort",
)


class Models:
    """All models of a process. They share connections; leaving the block closes these.

    `api_key` is for those that name none, unless the environment has one by then.
    """

    def __init__(self, limits: ModelLimits, media: MediaSource, *, api_key: str = "") -> None:
        self._limits = limits
        self._media = media
        self._clients = Clients(limits, api_key=api_key)
        self._models: dict[int, tuple[OpenAIChat, ChatModel]] = {}

    def of(self, declared: OpenAIChat) -> ChatModel:
        """The model as declared. Needs no key yet and connects to nothing."""
        known = self._models.get(id(declared))
        if known is None:
            # The declaration is kept with its model, so that no other gets its id.
            known = self._models[id(declared)] = (declared, self._made(declared))
        return known[1]

    def _made(self, declared: OpenAIChat) -> ChatModel:
        return ChatModel(
            id=declared.id,
            provider=declared.provider,
            parameters=_parameters(declared),
            account=_account(declared),
            clients=self._clients,
            limits=_limits(declared, self._limits),
            media=self._media,
        )

    async def aclose(self) -> None:
        await self._clients.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


def _parameters(declared: OpenAIChat) -> dict[str, Any]:
    given = {name: getattr(declared, name) for name in _PARAMETERS}
    known = {name: value for name, value in given.items() if value is not None}
    return {**known, **(declared.request_params or {})}


def _account(declared: OpenAIChat) -> Account:
    headers = {**(declared.default_headers or {}), **(declared.extra_headers or {})}
    return Account(
        api_key=declared.api_key,
        base_url=declared.base_url,
        organization=declared.organization,
        headers=tuple(sorted(headers.items())),
    )


def _limits(declared: OpenAIChat, limits: ModelLimits) -> ModelLimits:
    if declared.timeout is not None:
        limits = replace(limits, timeout_s=declared.timeout)
    if declared.max_retries is not None:
        limits = replace(limits, attempts_max=declared.max_retries + 1)
    return limits
