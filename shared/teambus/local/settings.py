"""What `teambus serve` may be told, each by an option or by a variable."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """Variables are `TEAMBUS_<FIELD>`, but for `NATS_URL`."""

    app: str
    app_dir: Path = Path()
    host: str = "127.0.0.1"
    port: int = 7777
    reload: bool = False
    data_dir: Path = Path(".teambus")
    nats_url: str | None = field(default=None, metadata={"variable": "NATS_URL"})
    drain_s: float = 10
    load_s: float = 60
    ready_s: float = 60
    restart_min_s: float = 0.2
    restart_max_s: float = 5
    steady_s: float = 10
    kill_after_s: float = 3
    reload_poll_s: float = 0.5
    reload_files_max: int = 10_000
