"""Chat models over OpenAI's API: tries, waits and their limits."""

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from teambus.contracts.journal import ModelAnswer
from teambus_team_runner.metrics import MODEL_RETRIES, call_counted, count_tokens
from teambus_team_runner.models.clients import Account, Client, Clients
from teambus_team_runner.models.failures import TRY_FAILURES, Failure, failure_of, out_of_time
from teambus_team_runner.models.limits import ModelLimits
from teambus_team_runner.models.parts import have_media
from teambus_team_runner.models.port import BeforeTry, Heard, MediaSource, ModelRequest
from teambus_team_runner.models.streaming import read_answer
from teambus_team_runner.models.wire import decode_answer, encode_request

log = structlog.get_logger()

COMPLETIONS = "/chat/completions"
ROLES: Mapping[str, str] = {"system": "developer"}


@dataclass(frozen=True, slots=True)
class ChatModel:
    """One declared model. Retries are made here, not by the client, for `before_try`'s sake."""

    id: str
    provider: str
    parameters: Mapping[str, Any]
    account: Account = field(repr=False)
    clients: Clients = field(repr=False)
    limits: ModelLimits
    media: MediaSource = field(repr=False)
    roles: Mapping[str, str] = field(default_factory=lambda: ROLES)

    async def answer(
        self, request: ModelRequest, before_try: BeforeTry, heard: Heard | None = None
    ) -> ModelAnswer:
        encode = partial(
            encode_request,
            *(self.id, self.parameters, request, self.roles),
            stream=heard is not None,
        )
        if not have_media(request.messages):
            return await self._answer(encode(contents={}), before_try, heard)
        async with self.media.of(request.messages) as contents:
            # With files it takes long enough to hold up all other runs.
            body = await asyncio.to_thread(encode, contents=contents)
            return await self._answer(body, before_try, heard)

    async def _answer(self, body: bytes, before_try: BeforeTry, heard: Heard | None) -> ModelAnswer:
        with call_counted(self.id):
            answer = await self._answered(body, before_try, heard)
            count_tokens(self.id, answer)
        return answer

    async def _answered(
        self, body: bytes, before_try: BeforeTry, heard: Heard | None
    ) -> ModelAnswer:
        client = self.clients.of(self.account)
        deadline = asyncio.timeout(self.limits.deadline_s)
        try:
            async with deadline:
                return await self._tries(_Call(client, body, heard), before_try)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise out_of_time(self.limits.deadline_s, client.where) from None

    async def _tries(self, call: "_Call", before_try: BeforeTry) -> ModelAnswer:
        attempt = 1
        while isinstance(outcome := await self._try(call, before_try), Failure):
            if not outcome.again or attempt >= self.limits.attempts_max:
                raise outcome.error
            wait_s = self._wait_s(attempt, outcome)
            MODEL_RETRIES.labels(self.id).inc()
            log.warning(
                "model call will be tried again",
                model=self.id,
                attempt=attempt,
                wait_s=round(wait_s, 3),
                code=outcome.error.code,
                reason=outcome.error.message,
            )
            await asyncio.sleep(wait_s)
            attempt += 1
        return outcome

    async def _try(self, call: "_Call", before_try: BeforeTry) -> ModelAnswer | Failure:
        async with call.client.places:
            await before_try()
            try:
                async with asyncio.timeout(self.limits.timeout_s):
                    return await call.answer(self.id)
            except TRY_FAILURES as error:
                return failure_of(error, call.client.where)

    def _wait_s(self, attempt: int, failure: Failure) -> float:
        """What the provider asks for, else doubled from try to try and spread by up to half."""
        if failure.wait_s is not None:
            return min(failure.wait_s, self.limits.backoff_max_s)
        backoff_s = self.limits.backoff_s * 2.0 ** (attempt - 1)
        return min(backoff_s, self.limits.backoff_max_s) * random.uniform(0.5, 1)


@dataclass(frozen=True, slots=True)
class _Call:
    """One request to one provider, whole or in pieces."""

    client: Client
    body: bytes
    heard: Heard | None

    async def answer(self, model_id: str) -> ModelAnswer:
        started = time.perf_counter()
        if self.heard is None:
            data = await self.client.post(COMPLETIONS, self.body)
            return decode_answer(data, model_id, time.perf_counter() - started)
        async with self.client.stream(COMPLETIONS, self.body) as chunks:
            return await read_answer(chunks, model_id, self.heard, started)
