"""What a webhook says: its body and the headers that sign it, after Standard Webhooks 1.0."""

import base64
import hashlib
import hmac
import re
from datetime import UTC, datetime

import msgspec

from teambus.contracts.ids import digest
from teambus.contracts.output import RunOutput, RunStatus, TeamRunOutput
from teambus.contracts.run import RunCompleted

TYPE = "run.completed"
_PLAIN = re.compile(r"[A-Za-z0-9_:-]{1,256}\Z")


class Data(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`run` is as `GET` on the run would give it; for a member's hook the member's run.

    `run_id` is that of the run that was asked for, `status` that of `run`.
    """

    event_id: str
    tenant: str
    run_id: str
    session_id: str
    status: RunStatus
    run: TeamRunOutput | RunOutput
    team_id: str | None = None
    agent_id: str | None = None
    code: str | None = None


class Body(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    timestamp: str
    data: Data


def body(completed: RunCompleted, run: TeamRunOutput | RunOutput) -> bytes:
    """The same bytes for the same run, whenever it is sent."""
    of_agent = isinstance(run, RunOutput) and run.agent_id == completed.team_id
    at = datetime.fromtimestamp(completed.completed_at, UTC)
    return msgspec.json.encode(
        Body(
            type=TYPE,
            timestamp=at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            data=Data(
                event_id=completed.event_id,
                tenant=completed.tenant,
                run_id=completed.run_id,
                session_id=completed.session_id,
                status=run.status,
                run=run,
                team_id=None if of_agent else completed.team_id,
                agent_id=completed.team_id if of_agent else None,
                code=completed.code,
            ),
        )
    )


def webhook_id(idempotency_key: str) -> str:
    """The key itself, unless somebody chose a run id that fits no header or would blur what is
    signed.
    """
    if _PLAIN.match(idempotency_key):
        return idempotency_key
    return "h_" + digest(idempotency_key.encode(), 32)


def signed(id_: str, body: bytes, keys: list[bytes], now_s: int) -> dict[str, str]:
    """The three headers that a receiver checks."""
    content = b"%s.%d.%s" % (id_.encode(), now_s, body)
    signatures = (hmac.digest(key, content, hashlib.sha256) for key in keys)
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(now_s),
        "webhook-signature": " ".join("v1," + base64.b64encode(s).decode() for s in signatures),
    }
