"""JSON Schemas of what is said on the bus, made from the contracts."""

import importlib
import inspect
import pkgutil
from typing import Any

import msgspec

from teambus import contracts
from teambus.contracts.message import Message

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Document = dict[str, Any]


def messages() -> dict[str, type[Message]]:
    """Every message by its tag, in the order of the tags."""
    for module in pkgutil.iter_modules(contracts.__path__):
        importlib.import_module(f"{contracts.__name__}.{module.name}")
    ours = (k for k in Message.__subclasses__() if k.__module__.startswith(contracts.__name__))
    return {tag(kind): kind for kind in sorted(ours, key=tag)}


def tag(kind: type[Message]) -> str:
    return str(kind.__struct_config__.tag)


def schema(kind: type[Any], name: str) -> Document:
    """The JSON Schema of one type, complete in itself."""
    made = msgspec.json.schema(kind)
    definitions = made["$defs"]
    root = definitions.pop(kind.__name__)
    head = {"$schema": DIALECT, "$id": f"urn:teambus:{name}"}
    tail = {"$defs": definitions} if definitions else {}
    cleaned: Document = _clean({**head, **root, **tail})
    return cleaned


def components(kinds: list[type[Any]], ref_template: str) -> tuple[list[Document], Document]:
    """A reference to each type, and the schemas by the names that the references use."""
    references, schemas = msgspec.json.schema_components(kinds, ref_template=ref_template)
    return list(references), _clean(schemas)


def _clean(value: Any) -> Any:
    """Docstrings without their indent; no OpenAPI keyword, which others would not know."""
    if isinstance(value, list):
        return [_clean(each) for each in value]
    if not isinstance(value, dict):
        return value
    cleaned = {name: _clean(each) for name, each in value.items() if name != "discriminator"}
    if isinstance(text := cleaned.get("description"), str):
        cleaned["description"] = inspect.cleandoc(text)
    return cleaned
