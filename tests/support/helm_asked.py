"""One question to Helm or to Kubernetes' schemas: JSON in, JSON out.

Run by the Python of .peers/helm, for they need much that nothing else does.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import helm_python  # type: ignore[import-not-found]  # only .peers/helm has it
import yaml


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """As Helm puts one values file over another."""
    both = {**base, **over}
    for name in base.keys() & over.keys():
        if isinstance(base[name], dict) and isinstance(over[name], dict):
            both[name] = merged(base[name], over[name])
    return both


def values_of(asked: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for each in asked["values"]:
        values = merged(values, load(each) if isinstance(each, str) else each)
    return values


def load(path: str) -> Any:
    return yaml.safe_load(Path(path).read_text()) or {}


def templates(asked: dict[str, Any]) -> dict[str, str]:
    with helm_python.Chart.load(asked["chart"]) as chart:
        values = values_of(asked)
        chart.validate_schema(values)
        found: dict[str, str] = chart.render(
            values, name=asked["release"], namespace=asked["namespace"]
        )
        return found


def render(asked: dict[str, Any]) -> Any:
    texts = [text for name, text in templates(asked).items() if not name.endswith("NOTES.txt")]
    return [each for text in texts for each in yaml.safe_load_all(text) if each]


def notes(asked: dict[str, Any]) -> Any:
    [text] = [text for name, text in templates(asked).items() if name.endswith("NOTES.txt")]
    return text


def lint(asked: dict[str, Any]) -> Any:
    report = helm_python.lint(asked["chart"], values=values_of(asked), strict=True)
    return [*report["messages"], *({"severity": 3, "error": each} for each in report["errors"])]


def validate(asked: dict[str, Any]) -> Any:
    # It takes longer to import than Helm to render, and few ask for it.
    import kubernetes_validate  # type: ignore[import-not-found]  # only .peers/helm has it

    found = []
    for document in asked["documents"]:
        try:
            kubernetes_validate.validate(document, asked["version"], strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{document['kind']} {document['metadata']['name']}: {error.message}")
        except kubernetes_validate.SchemaNotFoundError as error:
            found.append(f"{document['kind']} {document['metadata']['name']}: no schema: {error}")
    return found


ACTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "render": render,
    "notes": notes,
    "lint": lint,
    "validate": validate,
    "load": lambda asked: load(asked["values"][0]),
}

if __name__ == "__main__":
    request = json.load(sys.stdin)
    try:
        answer = ACTS[request["act"]](request)
    except helm_python.HelmError as refused:
        sys.exit(str(refused))
    json.dump(answer, sys.stdout)
