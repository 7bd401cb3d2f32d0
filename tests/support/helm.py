"""What the chart renders, by Helm itself, which lives in .peers/helm beside what judges it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, TypeAlias

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/teambus"
PEERS = Path(os.environ.get("TEAMBUS_PEERS_HELM") or ROOT / ".peers/helm")
HELM_S = 120
Values: TypeAlias = Path | dict[str, Any]
Document: TypeAlias = dict[str, Any]


class HelmRefused(Exception):
    """what Helm says is wrong with the chart or its values"""


def rendered(*values: Values, release: str = "desk", namespace: str = "teams") -> list[Document]:
    """The documents, with the values (files or in place) one over the other."""
    documents: list[Document] = _asked("render", values, release=release, namespace=namespace)
    return documents


def notes(*values: Values) -> str:
    """What Helm tells who installs it."""
    text: str = _asked("notes", values, release="desk", namespace="teams")
    return text


def linted(*values: Values) -> list[dict[str, Any]]:
    """What `helm lint --strict` finds, each with its `severity`: 1 is a remark, 2 a warning."""
    found: list[dict[str, Any]] = _asked("lint", values)
    return found


def unfit(documents: list[Document], version: str) -> list[str]:
    """Where documents are not what Kubernetes of this version takes, unknown fields included."""
    found: list[str] = _asked("validate", (), documents=documents, version=version)
    return found


def loaded(path: Path) -> Any:
    """A YAML file."""
    return _asked("load", (path,))


def _asked(act: str, values: tuple[Values, ...], **more: Any) -> Any:
    given = [str(each) if isinstance(each, Path) else each for each in values]
    told = subprocess.run(
        [str(PEERS / "bin/python"), "-P", str(Path(__file__).with_name("helm_asked.py"))],
        input=json.dumps({"act": act, "chart": str(CHART), "values": given, **more}),
        capture_output=True,
        text=True,
        timeout=HELM_S,
        check=False,
    )
    if told.returncode:
        raise HelmRefused(told.stderr.strip())
    return json.loads(told.stdout)
