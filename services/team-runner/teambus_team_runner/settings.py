"""The team-runner's settings, from the environment."""

from dataclasses import dataclass, field
from typing import Literal

from teambus.bus.access import Access


@dataclass(frozen=True, slots=True)
class Settings:
    """Variables are `TEAM_RUNNER_<NAME>`, but for those shared by all services."""

    nats_url: tuple[str, ...] = field(metadata={"variable": "NATS_URL"})
    app: str = field(metadata={"variable": "TEAMBUS_APP"})
    app_dir: str = field(default=".", metadata={"variable": "TEAMBUS_APP_DIR"})
    access: Access = field(default_factory=Access, metadata={"group": "NATS"})
    management_host: str = field(default="127.0.0.1", metadata={"variable": "MANAGEMENT_HOST"})
    management_port: int = field(default=0, metadata={"variable": "MANAGEMENT_PORT"})
    traces_flush_s: float = field(default=3, metadata={"variable": "TRACES_FLUSH_S"})
    sessions_only: bool = False
    """Answer for the sessions' databases and take no runs."""
    openai_api_key: str = field(
        default="", repr=False, metadata={"variable": "OPENAI_API_KEY", "is_secret": True}
    )
    hands: int = 512
    ahead_max: int = 20_000
    ahead_look_s: float = 0.25
    drain_s: float = 30
    attempts_max: int = 5
    run_timeout_s: float = 3600
    output_bytes_max: int = 63 * 1024 * 1024
    publish_patience_s: float = 20
    request_timeout_s: float = 2
    sessions_waiting_max: int = 32
    parked_max: int = 10_000
    answers_max: int = 64
    session_look_s: float = 2
    orphan_after_s: float = 60
    cancels_max: int = 20_000
    cancel_look_s: float = 2
    store_retry_s: float = 5
    store_give_up_s: float = 300
    store_busy_timeout_s: float = 5
    session_bytes_max: int = 32 * 1024 * 1024
    store_timeout_s: float = 15
    store_readers_max: int = 4
    store_tries_max: int = 6
    store_backoff_s: float = 0.05
    db_url: str = field(default="", repr=False, metadata={"is_secret": True})
    db_password: str = field(default="", repr=False, metadata={"is_secret": True})
    journal_entries_max: int = 10_000
    journal_entry_bytes_max: int = 16 * 1024 * 1024
    journal_patience_s: float = 300
    release_s: float = 5
    deaths_max: int = 2
    alone_wait_s: float = 60
    holder_answer_s: float = 2
    holder_return_s: float = 5
    model_connect_timeout_s: float = 10
    model_keepalive_s: float = 15
    model_answer_bytes_max: int = 16 * 1024 * 1024
    model_timeout_s: float = 120
    model_attempts_max: int = 4
    model_backoff_s: float = 0.5
    model_backoff_max_s: float = 30
    model_deadline_s: float = 600
    model_connections_max: int = 512
    media_call_bytes_max: int = 64 * 1024 * 1024
    media_bytes_max: int = 256 * 1024 * 1024
    model_client: Literal["lean", "sdk"] = "lean"
    tool_timeout_s: float = 300
    hook_timeout_s: float = 300
    threads_max: int = 32
    turns_max: int = 50
    tool_result_chars_max: int = 1_000_000
    tool_state_bytes_max: int = 8 * 1024 * 1024
    frames_coalesce_s: float = 0.05
    frames_patience_s: float = 15
    frames_buffer_bytes_max: int = 8 * 1024 * 1024
    room_percent_max: int = 70
    provision_wait_s: float = 60
    topology_look_s: float = 30
    store_look_s: float = 15
    unserved_s: float = 3600
    janitor_lease_s: float = 30
    janitor_sweep_s: float = 30
    janitor_acts_max: int = 1000
    janitor_looks_max: int = 10_000
    lag_age_max_s: float = 60
    lag_messages_max: int = 1000
