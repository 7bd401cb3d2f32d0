"""`teambus contracts`: what is said on the bus as JSON Schemas and an AsyncAPI document."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from teambus.cli import asyncapi, schemas
from teambus.contracts.channels import constant
from teambus.contracts.endpoints import ENDPOINTS

ASYNCAPI = "asyncapi.json"
SCHEMAS = "schemas"


def write(folder: Path) -> list[Path]:
    """Write every document below `folder`, and take away schemas of what is no longer said."""
    documents = dict(_documents())
    (folder / SCHEMAS).mkdir(parents=True, exist_ok=True)
    for old in (folder / SCHEMAS).glob("*.json"):
        if str(old.relative_to(folder)) not in documents:
            old.unlink()
    for name, document in documents.items():
        (folder / name).write_bytes(_text(document))
    return [folder / name for name in documents]


def _documents() -> Iterator[tuple[str, dict[str, Any]]]:
    yield ASYNCAPI, asyncapi.document()
    for tag, kind in schemas.messages().items():
        yield f"{SCHEMAS}/{tag}.json", schemas.schema(kind, tag)
    for endpoint in ENDPOINTS:
        for part, kind in (("question", endpoint.question), ("answer", endpoint.answer)):
            name = f"{constant(endpoint.address)}.{part}"
            yield f"{SCHEMAS}/{name}.json", schemas.schema(kind, name)


def _text(document: dict[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
