"""How a name becomes an id, and what an id may be."""

import re

from teambus.contracts.ids import ID_RULE, is_id

ID_LENGTH_MAX = 64


def slug(name: str) -> str:
    """The id of what has only a name: lower case, everything but letters and digits a dash."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:ID_LENGTH_MAX].strip("-")


def module_slug(module: str) -> str:
    """The id of an app that has none: its module's name as it is, where an id allows."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", module)[:ID_LENGTH_MAX]


def id_mistakes(label: str, id_: str, name: str = "") -> list[str]:
    if is_id(id_):
        return []
    if id_:
        return [f"{label}: the id {id_!r} must be {ID_RULE}"]
    if name:
        return [f"{label}: no id can be made from the name {name!r}; give one with id=..."]
    return [f"{label} has neither name nor id; give it a name=..."]
