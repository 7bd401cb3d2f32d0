"""The OpenAPI document is valid and true: whatever it allows is answered as it says."""

import asyncio
import os
import traceback
from collections.abc import Callable
from typing import Any

import httpx2
import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from openapi_spec_validator import validate
from schemathesis import CheckContext, Response
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    status_code_conformance,
)

from tests.peers.agentos import Served

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

SEED = int(os.environ.get("TEAMBUS_SCHEMATHESIS_SEED", "3110"))
EXAMPLES_MAX = 20
TIMEOUT_S = 20
NOT_IMPLEMENTED = 501
KNOWN = {
    "team_id": ["content-team", "strict-team"],
    "agent_id": ["assistant"],
    "session_id": ["known"],
    "run_id": ["known-run"],
}
"""What exists: half of the requests ask for it, so that not all end at "not found"."""


async def document_of(served: Served) -> dict[str, Any]:
    async with httpx2.AsyncClient(base_url=served.url, timeout=TIMEOUT_S) as client:
        document: dict[str, Any] = (await client.get("/openapi.json")).json()
        form = {"message": "Hi", "session_id": "known", "run_id": "known-run", "stream": "false"}
        (await client.post("/teams/content-team/runs", data=form)).raise_for_status()
    return document


def only_streams(operation: dict[str, Any]) -> bool:
    """Whether what it answers is always an event stream."""
    answer = operation["responses"].get("200", {})
    return list(answer.get("content", {})) == ["text/event-stream"]


def answerable(case: Any) -> Any:
    """The request, for an answer in one piece, and not for files, which nobody stores here."""
    (case.query or {}).pop("delete_media", None)
    if isinstance(case.body, dict) and case.operation.path.endswith("/runs"):
        case.body["stream"] = "false"
    return case


def no_failure_of_ours(_ctx: CheckContext, response: Response, _case: Any) -> None:
    """The document may say that something is not there (501), but nothing may break."""
    status = response.status_code
    assert status < 500 or status == NOT_IMPLEMENTED, f"{status}: {response.text}"


CHECKS = [no_failure_of_ours, status_code_conformance, content_type_conformance]


def attack(operation: Any, base_url: str) -> Callable[[], None]:
    """A search for a request that is answered otherwise than the document says."""

    @hypothesis.seed(SEED)
    @hypothesis.settings(
        max_examples=EXAMPLES_MAX,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @hypothesis.given(case=operation.as_strategy(), data=st.data())
    def requests_are_answered_as_documented(case: Any, data: st.DataObject) -> None:
        for name in KNOWN.keys() & (case.path_parameters or {}).keys():
            if data.draw(st.booleans(), label=f"a known {name}"):
                case.path_parameters[name] = data.draw(st.sampled_from(KNOWN[name]))
        answerable(case).call_and_validate(base_url=base_url, checks=CHECKS, timeout=TIMEOUT_S)

    return requests_are_answered_as_documented


async def test_the_document_is_valid_openapi_3_1(our_office: Served) -> None:
    document = await document_of(our_office)
    assert document["openapi"].startswith("3.1")
    validate(document)


async def test_what_the_document_allows_is_answered_as_it_says(our_office: Served) -> None:
    print(f"seed {SEED}: to search elsewhere, set TEAMBUS_SCHEMATHESIS_SEED")
    document = await document_of(our_office)
    failures: list[str] = []
    schema = schemathesis.openapi.from_dict(document)
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        if not only_streams(document["paths"][operation.path][operation.method]):
            await asyncio.to_thread(run, attack(operation, our_office.url), failures)
    assert not failures, "\n".join(failures)


def run(search: Callable[[], None], failures: list[str]) -> None:
    """Search, and keep what was found, so that one finding does not hide the others."""
    try:
        search()
    except FailureGroup as error:
        failures.append("".join(traceback.format_exception_only(error)))
