"""A client with a NATS library and nothing else: what the documentation says, done by hand.

Prints one JSON object, the same as direct.mjs.
"""

import asyncio
import json
import os
import sys
from typing import Any

import nats
from nats.aio.client import Client
from nats.js.api import PubAck

TEAM = "content-team"
EVENTS = "TEAMBUS_EVENTS"
WAIT_S = 30


async def main(run_id: str, started_run_id: str) -> None:
    bus = await nats.connect(os.environ["NATS_URL"])
    said = {**await published(bus, run_id), **await started(bus, started_run_id)}
    await bus.close()
    print(json.dumps(said))


async def published(bus: Client, run_id: str) -> dict[str, Any]:
    """A request put into the queue twice; its end heard, then looked up in both ways."""
    heard = await bus.subscribe(f"teambus.v1.live.default.{run_id}.completed")
    request = {"kind": "run.request.v1", "run_id": run_id, "input": "ask directly"}
    first = await publish(bus, request)
    again = await publish(bus, request)
    live = await heard.next_msg(timeout=WAIT_S)
    subject = f"teambus.v1.event.default.{TEAM}.{run_id}.completed"
    jetstream = bus.jetstream()
    direct = await jetstream.get_last_msg(EVENTS, subject, direct=True)
    stored = await jetstream.get_last_msg(EVENTS, subject)
    return {
        "first": {"stream": first.stream, "seq": first.seq, "duplicate": bool(first.duplicate)},
        "again": {"stream": again.stream, "seq": again.seq, "duplicate": bool(again.duplicate)},
        "live_subject": live.subject,
        "live_headers": live.headers,
        "live": json.loads(live.data),
        "direct": json.loads(direct.data or b""),
        "stored": json.loads(stored.data or b""),
    }


async def publish(bus: Client, request: dict[str, Any]) -> PubAck:
    run_id = request["run_id"]
    return await bus.jetstream().publish(
        f"teambus.v1.request.default.{TEAM}.std",
        json.dumps(request).encode(),
        headers={"Nats-Msg-Id": f"default:{TEAM}:{run_id}", "Teambus-Run-Id": run_id},
    )


async def started(bus: Client, run_id: str) -> dict[str, Any]:
    """A run started by a question, twice; its end asked for; and a question that is refused."""
    wanted = {"team_id": TEAM, "run_id": run_id, "input": "ask the gateway"}
    start = await ask(bus, "run.start", wanted)
    start_again = await ask(bus, "run.start", wanted)
    wait = await ask(bus, "run.wait", {"team_id": TEAM, "run_id": run_id, "timeout_s": WAIT_S})
    unknown = await ask(bus, "run.start", {"team_id": "nobody", "input": "anybody there?"})
    return {"start": start, "start_again": start_again, "wait": wait, "unknown": unknown}


async def ask(bus: Client, verb: str, question: dict[str, Any]) -> dict[str, Any]:
    subject = f"teambus.v1.api.default.{verb}"
    reply = await bus.request(subject, json.dumps(question).encode(), timeout=WAIT_S + 5)
    return {
        "error_code": (reply.headers or {}).get("Nats-Service-Error-Code"),
        "body": json.loads(reply.data),
    }


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
