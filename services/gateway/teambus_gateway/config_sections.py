"""The sections of `/config`: what is shown of each component, and by feature in which databases a
client finds it.

All that AgentOS names are there. What teambus does not have is in no database.
"""

from collections import ChainMap
from typing import Any, TypeAlias

from teambus.contracts.catalogue import AppDescription
from teambus_gateway.catalogue import Description

Section: TypeAlias = dict[str, Any]


def shown(apps: list[AppDescription]) -> Section:
    """What chats offer and how components are shown, where an app says so."""
    prompts = [app.quick_prompts for app in apps if app.quick_prompts is not None]
    manifest = {id_: each for app in apps for id_, each in app.manifest.items()}
    return {
        **({"chat": {"quick_prompts": dict(ChainMap(*prompts))}} if prompts else {}),
        **({"manifest": manifest} if manifest else {}),
    }


def sections(components: list[Description]) -> Section:
    """`metrics` name the session tables too: they are counted from the runs beside the sessions."""
    kept = {"dbs": _session_databases(components)}
    nowhere: Section = {"dbs": []}
    return {
        "session": kept,
        "metrics": kept,
        "memory": nowhere,
        "learning": nowhere,
        "filesystem": {"namespaces": []},
        "knowledge": {**nowhere, "knowledge_instances": []},
        "evals": nowhere,
        "traces": nowhere,
        "queue": {"durable": True, "queue_per_session": True},
    }


def _session_databases(components: list[Description]) -> list[Section]:
    tables: dict[str, set[str]] = {}
    for each in components:
        if each.db_id is not None:
            tables.setdefault(each.db_id, set()).update(
                [each.session_table] if each.session_table else []
            )
    return [
        {"db_id": db_id, "domain_config": {"display_name": db_id}, "tables": sorted(names)}
        for db_id, names in sorted(tables.items())
    ]
