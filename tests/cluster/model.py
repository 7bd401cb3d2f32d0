"""The scripted model in a container, and how it is told what to say."""

from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.support.system import free_port

PORT = 8080
WAIT_S = 60


@dataclass
class Model:
    """Told and asked through a port of this machine."""

    client: httpx2.AsyncClient
    port: int = field(default_factory=free_port)
    command = ("-P", "-m", "teambus.testing.model", "--host=0.0.0.0", f"--port={PORT}")

    async def rules(self, *rules: dict[str, object]) -> None:
        """These in place of all before them; calls made before are forgotten."""
        await self._ask("DELETE", "/_calls")
        await self._ask("POST", "/_rules", json=list(rules))

    async def release(self, gate: str) -> None:
        await self._ask("POST", f"/_release/{gate}")

    async def calls(self, *, begun: int = 0, ended: int = 0) -> list[dict[str, Any]]:
        """The calls since the rules were given, once so many of them have begun and ended."""
        wanted = {"wait_for": begun, "wait_for_ended": ended, "timeout_s": WAIT_S}
        told = await self._ask("GET", "/_calls", params=wanted)
        assert told["reached"], told["calls"]
        calls: list[dict[str, Any]] = told["calls"]
        return calls

    async def _ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.port}{path}"
        answer = await self.client.request(method, url, timeout=WAIT_S + 10, **options)
        answer.raise_for_status()
        told: dict[str, Any] = answer.json()
        return told
