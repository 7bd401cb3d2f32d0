"""What an operator may choose for the gateway."""

from dataclasses import dataclass, field

from teambus.bus import identities
from teambus.bus.access import Access
from teambus.bus.connection import BusSettings
from teambus.bus.frame_stream import FeedLimits
from teambus_gateway.access.configured import AccessSettings
from teambus_gateway.attachments import MediaLimits
from teambus_gateway.connections import ConnectionLimits
from teambus_gateway.forms import FormLimits
from teambus_gateway.media_fields import JSON_FIELDS
from teambus_gateway.runs import RunLimits
from teambus_gateway.shapes import AuthMode
from teambus_gateway.streams import StreamLimits

MIB = 1024 * 1024

ORIGINS = (
    "http://localhost:3000",
    "https://agno.com",
    "https://www.agno.com",
    "https://app.agno.com",
    "https://os-stg.agno.com",
    "https://os.agno.com",
)
"""The browser origins that AgentOS lets in by default."""


def _shared(variable: str) -> dict[str, str]:
    return {"variable": variable}


@dataclass(frozen=True, slots=True)
class GatewaySettings(AccessSettings):
    """Read from `GATEWAY_<FIELD>`, or the variable a field names."""

    nats_url: tuple[str, ...] = field(metadata=_shared("NATS_URL"))
    access: Access = field(default_factory=Access, metadata={"group": "NATS"})
    management_host: str = field(default="127.0.0.1", metadata=_shared("MANAGEMENT_HOST"))
    management_port: int = field(default=0, metadata=_shared("MANAGEMENT_PORT"))
    topology_look_s: float = 30
    traces_flush_s: float = field(default=3, metadata=_shared("TRACES_FLUSH_S"))
    host: str = "127.0.0.1"
    port: int = 7777
    listen_fd: int | None = None
    """A listening socket inherited from the supervisor; in place of host and port."""
    drain_s: float = 30
    keep_alive_s: int = 75
    reply_timeout_s: float = 300
    look_s: float = 3
    retry_after_s: int = 5
    waiting_max: int = 10_000
    streams_max: int = 5_000
    stream_keepalive_s: float = 15
    stream_max_s: float = 24 * 3600
    stream_stall_s: float = 30
    stream_unread_max: int = 1_000
    stream_unread_bytes_max: int = 4 * MIB
    streams_unread_bytes_max: int = 256 * MIB
    questions_max: int = 1_000
    request_bytes_max: int = 8 * MIB
    """A few photographs or a long document; base64 makes a file a third larger."""
    uploads_bytes_max: int = 256 * MIB
    field_bytes_max: int = 4 * MIB
    fields_max: int = 1_000
    files_max: int = 20
    file_bytes_max: int = 8 * MIB
    body_timeout_s: float = 30
    catalogue_poll_s: float = 2
    catalogue_reread_s: float = 0.5
    store_timeout_s: float = 5
    hook_calls_wait_s: float = 0.3
    connect_timeout_s: float = 10
    publish_patience_s: float = 20
    cors_origins: tuple[str, ...] = ()
    cors_agentos_origins: bool = True
    requests_per_s: float | None = None
    requests_burst: int | None = None
    hsts_s: int = 0
    head_timeout_s: float = 10
    head_bytes_max: int = 32 * 1024
    headers_max: int = 100
    connections_max: int = 10_000

    @property
    def auth_mode(self) -> AuthMode:
        if self.asks_for_tokens:
            return "jwt"
        return "security_key" if self.security_key or self.api_keys_file else "none"

    @property
    def origins(self) -> tuple[str, ...]:
        """The browser origins that are let in."""
        return (*(ORIGINS if self.cors_agentos_origins else ()), *self.cors_origins)

    def bus(self) -> BusSettings:
        return BusSettings(
            urls=self.nats_url,
            name="gateway",
            identity=identities.GATEWAY,
            access=self.access,
            connect_timeout_s=self.connect_timeout_s,
            publish_patience_s=self.publish_patience_s,
            retry_after_s=self.retry_after_s,
        )

    def run_limits(self) -> RunLimits:
        return RunLimits(
            reply_timeout_s=self.reply_timeout_s,
            look_s=self.look_s,
            retry_after_s=self.retry_after_s,
            waiting_max=self.waiting_max,
            streams_max=self.streams_max,
        )

    def feed_limits(self) -> FeedLimits:
        return FeedLimits(
            unread_max=self.stream_unread_max,
            unread_bytes_max=self.stream_unread_bytes_max,
            unread_bytes_max_of_all=self.streams_unread_bytes_max,
            look_s=self.look_s,
        )

    def stream_limits(self) -> StreamLimits:
        return StreamLimits(
            keepalive_s=self.stream_keepalive_s,
            max_s=self.stream_max_s,
            stall_s=self.stream_stall_s,
        )

    def form_limits(self) -> FormLimits:
        return FormLimits(
            bytes_max=self.request_bytes_max,
            field_bytes_max=self.field_bytes_max,
            fields_max=self.fields_max,
            timeout_s=self.body_timeout_s,
            large_fields=frozenset(JSON_FIELDS),
        )

    def connection_limits(self) -> ConnectionLimits:
        return ConnectionLimits(
            head_timeout_s=self.head_timeout_s,
            body_timeout_s=self.body_timeout_s,
            stall_s=self.stream_stall_s,
            head_bytes_max=self.head_bytes_max,
            headers_max=self.headers_max,
            connections_max=self.connections_max,
            retry_after_s=self.retry_after_s,
        )

    def media_limits(self) -> MediaLimits:
        return MediaLimits(files_max=self.files_max, file_bytes_max=self.file_bytes_max)
