"""The NATS client, made so that who it is and whom it trusts may change while it runs."""

import asyncio
import ssl
from typing import Any

import nats.errors
from nats.aio.client import Client

from teambus.bus.access import Access, AccessError

REFUSALS = ("authorization violation", "authentication expired", "authentication revoked")

CANCEL_PAUSE_S = 0.1


class AdmittedClient(Client):
    """Proves anew at each connection who it is, and talks to nobody it was told not to trust."""

    def __init__(self, access: Access, *, wants_tls: bool) -> None:
        super().__init__()
        self._access = access
        self._wants_tls = wants_tls or access.wants_tls

    async def connect_within(self, wait_s: float, **options: Any) -> None:
        """Raises `TimeoutError` when no server let this process in in time."""
        connecting = asyncio.create_task(self.connect(**options), name="connect")
        try:
            await asyncio.wait({connecting}, timeout=wait_s)
        finally:
            # The client may take being cancelled for a try that failed, and go on.
            while not connecting.done():
                connecting.cancel()
                await asyncio.wait({connecting}, timeout=CANCEL_PAUSE_S)
        if connecting.cancelled():
            raise TimeoutError
        connecting.result()

    @property
    def ssl_context(self) -> ssl.SSLContext:
        return self._access.tls()

    def _connect_command(self) -> bytes:
        """The last thing before anything is said, and the first that proves anything."""
        writer = getattr(self._transport, "_io_writer", None)
        if self._wants_tls and (writer is None or writer.get_extra_info("ssl_object") is None):
            raise AccessError(
                "the server has no TLS, but NATS_URL or NATS_TLS_* ask for it; nothing was sent"
            )
        self._public_nkey = self._access.public_key()
        return super()._connect_command()

    async def _greet(self) -> None:
        """What the loop or a library raises of its own must not end the trying."""
        try:
            await super()._process_connect_init()
        except (RuntimeError, ValueError) as error:
            if isinstance(error, OSError):
                raise
            raise nats.errors.Error(f"nats: connecting failed: {error!r}") from error
        if not self.is_connected:
            # The server hung up in place of an answer, and the client takes that for one.
            for task in (self._reading_task, self._ping_interval_task, self._flusher_task):
                if task is not None:
                    task.cancel()
            raise nats.errors.UnexpectedEOF

    async def _heed(self, err_msg: str) -> None:
        """Whoever is put out while connected comes again, with what the files say by then."""
        if self.is_connected and is_refusal(err_msg):
            error = nats.errors.Error(f"nats: {err_msg}")
            await self._error_cb(error)
            await self._process_op_err(error)
            return
        await super()._process_err(err_msg)

    # Under these names the client calls them.
    _process_connect_init = _greet
    _process_err = _heed


def is_refusal(text: str) -> bool:
    """Whether a server says that it does not know who this is, or not any more."""
    return any(each in text.lower() for each in REFUSALS)


def explained(error: BaseException) -> str:
    """Why a connection could not be made, in words that lead to what is to be mended."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the server's certificate is not trusted ({error.verify_message}); "
            "is NATS_TLS_CA_FILE the one that signed it?"
        )
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason}); NATS_TLS_CERT_FILE may be missing, or not trusted"
    text = str(error)
    if "authorization violation" in text.lower():
        return (
            "the bus refuses the credentials; is the right file named in NATS_CREDENTIALS_FILE, "
            "NATS_NKEY_SEED_FILE or NATS_PASSWORD_FILE, and does the server know it?"
        )
    return text or "no answer"
