"""One JSON object laid on another, as session state and metadata are put together."""

from typing import Any


def merged(base: dict[str, Any] | None, over: dict[str, Any] | None) -> dict[str, Any]:
    """`over` laid on `base`, objects within objects too; neither is changed."""
    result = dict(base or {})
    for key, value in (over or {}).items():
        below = result.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        result[key] = merged(below, value) if both else value
    return result
