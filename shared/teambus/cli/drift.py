"""How a stream on the server differs from its description."""

from dataclasses import dataclass
from typing import Any

from teambus.bus.topology import FINGERPRINT, fingerprint

CHOSEN = {"num_replicas", "max_age", "max_bytes", "max_msgs_per_subject", "duplicate_window"}
"""What an operator sets; another value than here is as good, if it was provisioned."""


@dataclass(frozen=True, slots=True)
class Drift:
    """The fields that are wrong, and those that were provisioned with other settings."""

    wrong: list[str]
    chosen: list[str]


def drift(document: dict[str, Any], current: dict[str, Any]) -> Drift:
    """What provision wrote it signed, so a field changed by hand since is told from a setting."""
    fields = [name for name in document if name != "metadata"]
    different = [name for name in fields if current.get(name) != document[name]]
    signed = fingerprint({name: current.get(name) for name in fields})
    if signed != current.get("metadata", {}).get(FINGERPRINT):
        return Drift(different or ["metadata"], [])
    return Drift(
        [name for name in different if name not in CHOSEN],
        [name for name in different if name in CHOSEN],
    )
