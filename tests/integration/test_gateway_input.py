"""What comes in over HTTP and is refused, dropped or ignored; the words are AgentOS's."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from tests.integration.gateway_parts import Served, system

RUNS = "/teams/content-team/runs"
MIB = 1024 * 1024
MISSING = {
    "detail": [
        {"type": "missing", "loc": ["body", "message"], "msg": "Field required", "input": None}
    ]
}


async def test_without_a_message_a_run_is_refused_as_fastapi_would(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        replies = [
            await gateway.post(None),
            await gateway.post(""),
            await gateway.http.post(RUNS, json={"message": "hello"}),
            await gateway.http.post(RUNS),
            await gateway.http.post(RUNS, files={"other": (None, "x")}),
        ]
    assert [(r.status_code, r.json()) for r in replies] == [(422, MISSING)] * len(replies)
    assert here.runner.taken == []


async def test_an_unknown_team_is_not_found(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        form = {"message": "x", "stream": "false"}
        for team in ("nobody", ">", "a.b", "%2e%2e", "x" * 600):
            response = await gateway.http.post(f"/teams/{team}/runs", data=form)
            assert (response.status_code, response.json()) == (404, {"detail": "Team not found"})


async def test_text_that_is_not_utf8_is_refused_by_name(tmp_path: Path) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    async with system(tmp_path) as here, here.gateway() as gateway:
        escaped = await gateway.http.post(RUNS, content=b"message=%ff%fe", headers=form)
        raw = await gateway.http.post(RUNS, content=b"message=\xff\xfe", headers=form)
        part = await gateway.http.post(RUNS, files={"message": (None, b"\xff\xfe")})
    assert [escaped.status_code, raw.status_code, part.status_code] == [422, 422, 422]
    assert part.json()["detail"][0]["loc"] == ["body", "message"]
    assert "unicode" in part.json()["detail"][0]["msg"]


async def test_metadata_must_be_a_json_object(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        bad = ["{", "[1]", '"x"', "1", "{'a': 1}", '{"a": NaN}']
        bad.append('{"a":' * 2_000 + "1" + "}" * 2_000)
        for metadata in bad:
            response = await gateway.post(metadata=metadata)
            detail = {"detail": "Invalid metadata parameter: expected a JSON object"}
            assert (response.status_code, response.json()) == (400, detail), metadata[:40]
        good = await gateway.post(metadata='{"plan": "pro", "n": [1, {"a": null}]}')
    assert good.status_code == 200
    assert here.runner.taken[0].metadata == {"plan": "pro", "n": [1, {"a": None}]}


async def test_other_json_that_cannot_be_read_is_dropped(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        bad = await gateway.post(session_state="{", dependencies="[1]")
        good = await gateway.post(session_state='{"n": 1}', dependencies='{"d": 2}')
    assert (bad.status_code, good.status_code) == (200, 200)
    first, second = here.runner.taken
    assert (first.session_state, first.dependencies) == (None, None)
    assert (second.session_state, second.dependencies) == ({"n": 1}, {"d": 2})


async def test_a_flag_that_is_none_is_refused(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        for name in ("stream", "background", "monitor", "add_history_to_context"):
            response = await gateway.post(**{name: "maybe"})
            assert response.status_code == 422, name
            error = response.json()["detail"][0]
            assert (error["type"], error["loc"]) == ("bool_parsing", ["body", name])
        for flag in ("0", "False", "no", "off", "f"):
            assert (await gateway.post(stream=flag)).status_code == 200


async def test_what_is_too_long_for_an_id_is_refused(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        for name in ("session_id", "user_id", "run_id"):
            response = await gateway.post(**{name: "x" * 513})
            assert response.status_code == 422, name
            assert response.json()["detail"][0]["loc"] == ["body", name]
        assert (await gateway.post(run_id="a/b")).status_code == 422
        assert (await gateway.post(key="k" * 513)).status_code == 422
        assert (await gateway.post(key="k", run_id="r")).status_code == 422


async def test_what_comes_with_a_later_release_says_so(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        schema = await gateway.post(output_schema='{"type": "object"}')
    assert schema.status_code == 501
    assert "output_schema" in schema.json()["detail"]


async def test_fields_nobody_knows_are_ignored(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        unknown = {f"unknown-{n}": "x" for n in range(300)}
        with capture_logs() as logs:
            response = await gateway.post(**unknown)
        parts: list[Any] = [(name, (None, value)) for name, value in unknown.items()]
        parts += [("message", (None, "m")), ("stream", (None, "false")), ("files", ("", b""))]
        multipart = await gateway.http.post(RUNS, files=parts)
    assert (response.status_code, multipart.status_code) == (200, 200), multipart.text
    [said] = [each for each in logs if each["event"] == "form fields ignored"]
    assert (said["log_level"], said["names"][:2]) == ("debug", ["unknown-0", "unknown-1"])


async def test_more_than_the_limits_is_refused(tmp_path: Path) -> None:
    async with system(tmp_path) as here:
        async with here.gateway(fields_max=10, field_bytes_max=1000) as gateway:
            many = {str(n): "x" for n in range(11)}
            parts = [(name, (None, value)) for name, value in many.items()]
            assert (await gateway.http.post(RUNS, data=many)).status_code == 400
            response = await gateway.http.post(RUNS, files=parts)
            assert response.json()["code"] == "too_many_fields"
            large = await gateway.post("x" * 1001)
            assert (large.status_code, large.json()["code"]) == (413, "field_too_large")
            assert (await gateway.post("x" * 1000)).status_code == 200


async def test_a_body_of_nine_mebibytes_is_refused(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        response = await gateway.post("x" * 9 * MIB)
        assert (response.status_code, response.json()["code"]) == (413, "request_too_large")
        assert (await gateway.post()).status_code == 200


async def test_a_body_of_unknown_length_is_refused_before_its_end(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway(request_bytes_max=MIB) as gateway:
        head, body = await _send_without_end(gateway)
    assert head.startswith(b"HTTP/1.1 413 ")
    assert body["code"] == "request_too_large"


async def _send_without_end(gateway: Served) -> tuple[bytes, dict[str, Any]]:
    """Send chunks for as long as nothing is answered; the answer."""
    port = int(gateway.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /teams/content-team/runs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    )

    async def keep_sending() -> None:
        while True:
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            await writer.drain()

    sending = asyncio.create_task(keep_sending())
    async with asyncio.timeout(20):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body: dict[str, Any] = json.loads(await reader.readexactly(length))
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    writer.close()
    return head, body


async def test_a_body_that_does_not_arrive_is_not_waited_for(tmp_path: Path) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"message="
        await asyncio.sleep(5)
        yield b"late"

    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    async with system(tmp_path) as here, here.gateway(body_timeout_s=0.2) as gateway:
        response = await gateway.http.post(RUNS, content=slow(), headers=kind)
    assert response.status_code == 408


async def test_a_form_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    kind = "multipart/form-data; boundary=b"
    bad = {
        b"--b\r\nContent-Disposition: form-data; name=message\r\n\r\nx": kind,
        b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--\r\n": kind,
        b"--b\r\nContent-Disposition: form-data; name=message\r\n--b--\r\n": kind,
        b"--b--": "multipart/form-data",
        b"": kind,
    }
    async with system(tmp_path) as here, here.gateway() as gateway:
        for body, given in bad.items():
            headers = {"Content-Type": given}
            response = await gateway.http.post(RUNS, content=body, headers=headers)
            assert response.status_code == 400, (body, response.text)
            assert "cannot be read" in response.json()["detail"]
