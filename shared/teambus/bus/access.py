"""How a process gets in: who it says it is, and how it knows that it talks to the right bus.

Every file is read again for each connection, so what is replaced holds from the next one on.
"""

import base64
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats.errors
import nkeys  # type: ignore[import-untyped]  # it comes without types

JWT = re.compile(r"-----BEGIN NATS USER JWT-----\s+(\S+)\s+-+END NATS USER JWT-+")
SEED = re.compile(r"-----BEGIN USER NKEY SEED-----\s+(\S+)\s+-+END USER NKEY SEED-+")


class AccessError(nats.errors.Error):
    """a file that is to let this process in does not; says which, and never what is in it"""


@dataclass(frozen=True, slots=True)
class Access:
    """Who this is (one kind of proof at most) and whom it trusts.

    With a `tls://` address or any `tls_` file, nothing is said to a server that has no TLS. Without
    `tls_ca_file` the certificates that the machine trusts count.
    """

    credentials_file: str | None = None
    nkey_seed_file: str | None = None
    user: str | None = None
    password_file: str | None = None
    tls_ca_file: str | None = None
    tls_cert_file: str | None = None
    tls_key_file: str | None = None

    def __post_init__(self) -> None:
        if bool(self.user) != bool(self.password_file):
            raise ValueError("NATS_USER and NATS_PASSWORD_FILE go together; set both or neither")
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            raise ValueError("NATS_TLS_CERT_FILE and NATS_TLS_KEY_FILE go together; set both")
        kinds = {
            "NATS_CREDENTIALS_FILE": self.credentials_file,
            "NATS_NKEY_SEED_FILE": self.nkey_seed_file,
            "NATS_USER": self.user,
        }
        if len(given := [name for name, value in kinds.items() if value]) > 1:
            raise ValueError(f"{' and '.join(given)} are both set; one proves who this is")

    @property
    def wants_tls(self) -> bool:
        return bool(self.tls_ca_file or self.tls_cert_file)

    def tls(self) -> ssl.SSLContext:
        """What a connection is encrypted with, from the files as they are now."""
        context: ssl.SSLContext = _of_file("NATS_TLS_CA_FILE", self.tls_ca_file, _trusting)
        if self.tls_cert_file:
            _text("NATS_TLS_KEY_FILE", self.tls_key_file)
            _of_file(
                "NATS_TLS_CERT_FILE",
                self.tls_cert_file,
                lambda certificate: context.load_cert_chain(str(certificate), self.tls_key_file),
            )
        return context

    def options(self) -> dict[str, Any]:
        """What the client asks for at each connection to prove who it is."""
        if self.user:
            return {"user": self.user, "password": self._password}
        if self.credentials_file:
            return {"signature_cb": self._signature, "user_jwt_cb": self._jwt}
        if self.nkey_seed_file:
            return {"signature_cb": self._signature}
        return {}

    def public_key(self) -> str | None:
        """The name of an NKey; a JWT holds its own."""
        if not self.nkey_seed_file:
            return None
        pair = self._pair()
        try:
            return str(pair.public_key.decode())
        finally:
            pair.wipe()

    def _password(self) -> str:
        return _text("NATS_PASSWORD_FILE", self.password_file).strip()

    def _jwt(self) -> bytearray:
        return bytearray(self._credential(JWT, "user JWT").encode())

    def _signature(self, nonce: str) -> bytes:
        pair = self._pair()
        try:
            return base64.b64encode(pair.sign(nonce.encode()))
        finally:
            pair.wipe()

    def _pair(self) -> nkeys.KeyPair:
        if self.credentials_file:
            variable, seed = "NATS_CREDENTIALS_FILE", self._credential(SEED, "user NKey seed")
        else:
            variable = "NATS_NKEY_SEED_FILE"
            seed = _text(variable, self.nkey_seed_file).strip()
        try:
            return nkeys.from_seed(bytearray(seed.encode()))
        except (nkeys.NkeysError, ValueError, TypeError):
            # What the library raises may hold the seed.
            raise AccessError(f"the file of {variable} holds no NKey seed (SU...)") from None

    def _credential(self, form: re.Pattern[str], what: str) -> str:
        found = form.search(_text("NATS_CREDENTIALS_FILE", self.credentials_file))
        if found is None:
            raise AccessError(f"the file of NATS_CREDENTIALS_FILE holds no {what}")
        return found[1]


def _trusting(file: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=None if file is None else str(file))


def _of_file(variable: str, name: str | None, use: Callable[[Any], Any]) -> Any:
    try:
        return use(None if name is None else Path(name))
    except ssl.SSLError as error:
        raise AccessError(f"{variable}={name!r} cannot be used: {error.reason}") from None
    except OSError as error:
        raise AccessError(f"{variable}={name!r} cannot be read: {error.strerror}") from None


def _text(variable: str, name: str | None) -> str:
    try:
        return Path(name or "").read_text(encoding="utf-8")
    except OSError as error:
        raise AccessError(f"{variable}={name!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise AccessError(f"{variable}={name!r} is no text") from None
