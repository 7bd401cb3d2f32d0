"""Who there is on the bus. Each hears its answers under a name of its own, `_INBOX.<identity>`."""

from teambus.contracts.ids import Tenant

GATEWAY = "gateway"
TEAM_RUNNER = "team-runner"
HOOK_RUNNER = "hook-runner"
PROVISION = "provision"
OPERATOR = "operator"
DOCTOR = "doctor"
CLIENT = "client"


def team_runner(app_id: str) -> str:
    """All team-runners of an app."""
    return f"{TEAM_RUNNER}.{app_id}"


def hook_runner(app_id: str) -> str:
    """All hook-runners of an app."""
    return f"{HOOK_RUNNER}.{app_id}"


def client(tenant: Tenant) -> str:
    """A program of a tenant's that speaks to the bus itself."""
    return f"{CLIENT}.{tenant}"


def inbox(identity: str) -> str:
    """Where its answers come in."""
    return f"_INBOX.{identity}"
