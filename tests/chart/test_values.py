"""A mistake in a values file is said before anything is installed."""

import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from tests.chart import schema
from tests.chart.parts import SMALL
from tests.support.helm import CHART, HelmRefused, loaded, rendered

FREE = {
    *("labels", "annotations", "commonLabels", "commonAnnotations", "podLabels", "podAnnotations"),
    *("requests", "limits", "nodeSelector", "affinity", "apps", "dns", "model", "topologySpread"),
    *("settings", "credentials"),
}
"""Whose keys people choose, or that are checked elsewhere."""


def test_the_schema_is_the_one_the_settings_make() -> None:
    assert schema.FILE.read_text() == schema.text(), "write it again: make chart"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"gateway": {"replica": 3}}, "at '/gateway': additional properties 'replica' not allowed"),
        (
            {"teamRunner": {"settings": {"TEAM_RUNNER_HAND": 3}}},
            "at '/teamRunner/settings': additional properties 'TEAM_RUNNER_HAND' not allowed",
        ),
        (
            {"gateway": {"settings": {"OS_SECURITY_KEY": "a secret, in a values file"}}},
            "at '/gateway/settings': additional properties 'OS_SECURITY_KEY' not allowed",
        ),
        (
            {"hookRunner": {"settings": {"HOOK_RUNNER_DRAIN_S": 3}}},
            "at '/hookRunner/settings': additional properties 'HOOK_RUNNER_DRAIN_S' not allowed",
        ),
        (
            {"hookRunner": {"settings": {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=a key"}}},
            "at '/hookRunner/settings/OTEL_EXPORTER_OTLP_HEADERS': 'not' failed",
        ),
        ({"apps": {"desk": {"teamRunner": {}}}}, "at '/apps/desk': missing property 'app'"),
        ({"apps": {"My Desk": {"app": "a:b"}}}, "'My Desk' does not match pattern"),
        ({"gateway": {"replicas": "3"}}, "at '/gateway/replicas': got string, want integer"),
        ({"image": {"pullPolicy": "Sometimes"}}, "at '/image/pullPolicy': value must be one of"),
        ({"nats": {"urls": ["http://nats"]}}, "at '/nats/urls/0': 'http://nats' does not match"),
        (
            {"nats": {"credentials": {"gateway": {"kind": "token"}}}},
            "at '/nats/credentials/gateway/kind': value must be one of",
        ),
    ],
)
def test_a_mistake_is_named_by_its_place(values: dict[str, Any], said: str) -> None:
    with pytest.raises(HelmRefused) as caught:
        rendered(values)
    assert said in str(caught.value)


def test_an_app_of_an_earlier_values_file_can_be_taken_out() -> None:
    found = rendered(SMALL, {"apps": {"sample": None}})
    names = [each["metadata"]["name"] for each in found if each["kind"] == "Deployment"]
    assert names == ["desk-teambus-gateway"]


def test_the_platform_may_choose_the_user_itself() -> None:
    found = rendered({"podSecurity": {"runAsUser": None}})
    [gateway] = [each for each in found if each["kind"] == "Deployment"]
    chosen = gateway["spec"]["template"]["spec"]["securityContext"]
    assert chosen.keys() == {"runAsNonRoot", "fsGroupChangePolicy", "seccompProfile"}


def test_every_value_that_may_be_given_is_in_values_yaml_with_its_default() -> None:
    known = schema.schema()
    missing = list(_missing(known, loaded(CHART / "values.yaml"), known["definitions"], ""))
    assert missing == ["/global"]


def _missing(of: Any, values: Any, named: dict[str, Any], where: str) -> Iterator[str]:
    of = named[of["$ref"].rsplit("/", 1)[1]] if "$ref" in of else of
    for name, kind in of.get("properties", {}).items():
        if not isinstance(values, dict) or name not in values:
            if "sessionsOnly" not in where and name not in ("claims",):
                yield f"{where}/{name}"
        elif name not in FREE:
            yield from _missing(kind, values[name], named, f"{where}/{name}")


class Gateway(BaseHTTPRequestHandler):
    """Answers health with 200, and a run as its team says."""

    def do_GET(self) -> None:
        self._answer(200, b'{"status": "ok"}')

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status = self.path.split("/")[2].upper().encode()
        self._answer(200, b'{"status": "%s", "content": "said"}' % status)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("component", "status"), [("", 0), ("teams/completed", 0), ("teams/error", 1)]
)
def test_helm_test_fails_when_the_run_does(component: str, status: int) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        asked = subprocess.run(
            [sys.executable, "-P", "-c", (CHART / "files/ask.py").read_text()],
            env={"URL": url, "COMPONENT": component, "MESSAGE": "Are you there?"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        server.shutdown()
    assert asked.returncode == status, asked.stderr
