"""What an operator may choose for the hook-runner."""

from dataclasses import dataclass, field

from teambus.app.webhooks import network
from teambus.bus import identities
from teambus.bus.access import Access
from teambus.bus.connection import BusSettings
from teambus.runtime.settings import SettingsError


def _shared(variable: str) -> dict[str, str]:
    return {"variable": variable}


@dataclass(frozen=True, slots=True)
class Settings:
    """Variables are `HOOK_RUNNER_<NAME>`, but for those shared by all services.

    How many calls of a hook run at once is the hook's own `concurrency_max`.
    """

    nats_url: tuple[str, ...] = field(metadata=_shared("NATS_URL"))
    app: str = field(metadata=_shared("TEAMBUS_APP"))
    app_dir: str = field(default=".", metadata=_shared("TEAMBUS_APP_DIR"))
    app_id: str | None = field(default=None, metadata=_shared("TEAMBUS_APP_ID"))
    access: Access = field(default_factory=Access, metadata={"group": "NATS"})
    management_host: str = field(default="127.0.0.1", metadata=_shared("MANAGEMENT_HOST"))
    management_port: int = field(default=0, metadata=_shared("MANAGEMENT_PORT"))
    traces_flush_s: float = field(default=3, metadata=_shared("TRACES_FLUSH_S"))
    hooks: tuple[str, ...] = ()
    hooks_except: tuple[str, ...] = ()
    """Deliver these only, or all but these: groups of hook-runners share an app's hooks."""
    drain_s: float = 30
    kill_after_s: float = 5
    processes_max: int = 16
    crash_max: int = 20
    start_timeout_s: float = 60
    restart_backoff_s: float = 1
    restart_backoff_max_s: float = 30
    backoff_max_s: float = 600
    session_timeout_s: float = 5
    record_retry_s: float = 1
    verify_s: float = 2
    topology_look_s: float = 30
    webhook_networks_allowed: tuple[str, ...] = ()
    connect_timeout_s: float = 10
    request_timeout_s: float = 2
    publish_patience_s: float = 20

    def __post_init__(self) -> None:
        if self.hooks and self.hooks_except:
            raise SettingsError("HOOK_RUNNER_HOOKS and HOOK_RUNNER_HOOKS_EXCEPT: set one of them")
        for each in self.webhook_networks_allowed:
            try:
                network(each)
            except ValueError as error:
                variable = "HOOK_RUNNER_WEBHOOK_NETWORKS_ALLOWED"
                raise SettingsError(f"{variable} has {each!r}: {error}") from None

    def bus(self, app_id: str) -> BusSettings:
        return BusSettings(
            urls=self.nats_url,
            name="hook-runner",
            identity=identities.hook_runner(app_id),
            access=self.access,
            connect_timeout_s=self.connect_timeout_s,
            request_timeout_s=self.request_timeout_s,
            publish_patience_s=self.publish_patience_s,
        )
