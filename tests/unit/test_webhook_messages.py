"""What a webhook says and how it is signed, checked with the library that receivers use."""

import base64
import json
import subprocess
import sys
import time
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from teambus.contracts.output import RunOutput, RunStatus
from teambus.domain.agent_runs import read_form
from teambus_hook_runner.webhooks.message import body, signed, webhook_id
from tests.integration.hook_parts import completed, member_run

OLD, NEW, OTHER = b"o" * 24, b"n" * 32, b"x" * 32


def receiver(key: bytes) -> Webhook:
    return Webhook("whsec_" + base64.b64encode(key).decode())


def said(data: bytes) -> Any:
    return json.loads(data)


@pytest.mark.parametrize("key", [OLD, NEW])
def test_a_receiver_with_either_secret_accepts_it(key: bytes) -> None:
    data = body(completed("r-1", content="é"), completed("r-1", content="é").output)
    headers = signed("default:books:r-1", data, [NEW, OLD], int(time.time()))
    assert receiver(key).verify(data, headers) == said(data)


@pytest.mark.parametrize("change", ["body", "id", "time", "key", "age"])
def test_a_receiver_refuses_what_was_changed_on_the_way(change: str) -> None:
    data, now_s = b'{"a":1}', int(time.time()) - (600 if change == "age" else 0)
    headers = signed("m", data, [NEW], now_s)
    headers |= {"webhook-id": "n"} if change == "id" else {}
    headers |= {"webhook-timestamp": str(now_s + 1)} if change == "time" else {}
    key = OTHER if change == "key" else NEW
    with pytest.raises(WebhookVerificationError):
        receiver(key).verify(b'{"a":2}' if change == "body" else data, headers)


def test_the_body_is_type_timestamp_and_data() -> None:
    event = completed("r-1", "desk", content="done", dependencies={"key": "inside"})
    text = body(event, event.output)
    found = said(text)
    assert list(found) == ["type", "timestamp", "data"]
    assert found["type"] == "run.completed"
    assert found["timestamp"].endswith("Z")
    run = found["data"].pop("run")
    assert found["data"] == {
        "event_id": "default:desk:r-1:completed",
        "tenant": "default",
        "run_id": "r-1",
        "session_id": "session of r-1",
        "status": "COMPLETED",
        "team_id": "desk",
    }
    assert (run["run_id"], run["content"]) == ("r-1", "done")
    assert b"inside" not in text, "dependencies stay on the bus"
    assert body(event, event.output) == text, "a retry says the same"


def test_a_run_of_an_agent_by_itself_is_said_as_its_agents() -> None:
    event = completed("r-1", "poet", agent_id="poet")
    data = said(body(event, read_form(event.output)))["data"]
    assert data["agent_id"] == data["run"]["agent_id"] == "poet"
    assert "team_id" not in data
    assert "team_id" not in data["run"]


def test_a_members_run_is_said_with_the_team_it_was_asked_in() -> None:
    event = completed("r-1", "desk", status=RunStatus.ERROR)
    run: RunOutput = member_run("r-2", "writer")
    data = said(body(event, run))["data"]
    assert (data["team_id"], data["run_id"], data["status"]) == ("desk", "r-1", "COMPLETED")
    assert (data["run"]["run_id"], data["run"]["agent_id"]) == ("r-2", "writer")


def test_an_id_that_fits_a_header_stays_as_it_is() -> None:
    assert webhook_id("default:books:r-1:w_2") == "default:books:r-1:w_2"


@pytest.mark.parametrize("run", ["r\r\nx: y", "r.1", "ü", "a b", "", "x" * 300])
def test_an_id_of_another_kind_is_one_that_fits_and_differs(run: str) -> None:
    made = webhook_id(f"default:books:{run}" if run else "")
    assert made.startswith("h_")
    assert made.replace("_", "").isalnum()
    assert made == webhook_id(f"default:books:{run}" if run else "")
    assert made != webhook_id("default:books:other run")


def test_an_app_without_webhooks_loads_nothing_that_sends() -> None:
    program = (
        "import sys, teambus, teambus_hook_runner.child, teambus_hook_runner.main;"
        "print({'h11', 'teambus_hook_runner.webhooks'} & set(sys.modules))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert said.stdout.strip() == "set()"
