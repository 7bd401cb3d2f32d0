"""A bus that lets nobody do more than the generated permissions say, and speaks TLS only."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import nkeys  # type: ignore[import-untyped]  # it comes without types
import trustme

from teambus.bus import identities
from teambus.bus.access import Access
from teambus.bus.connection import BusSettings
from teambus.cli.permissions import ACCOUNT
from teambus.local.nats_server import NatsServer

ADMIN = "admin"
"""Who may do everything, to see what became of what others tried; no identity of teambus's."""
VIOLATION = re.compile(r'nkey:(\w+)" - (Publish|Subscription) Violation - Subject "([^"]+)"')
CONFIG = """
tls {{
  cert_file: {certificate}
  key_file: {key}
  ca_file: {ca}
  verify: true
}}
include {accounts}
"""


@dataclass
class Lock:
    """Keys, certificates and permissions for one app and some tenants, in a folder."""

    folder: Path
    tenants: Sequence[str] = ()
    others: Sequence[Path] = ()
    hosts: Sequence[str] = ("127.0.0.1",)
    authority: trustme.CA = field(default_factory=trustme.CA)
    keys: dict[str, str] = field(default_factory=dict)
    accounts: dict[str, Any] = field(default_factory=dict)
    app_id: str = ""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.authority.cert_pem.write_to_path(str(self._file("ca.pem")))
        self.certify("server", self.hosts)
        self.certify("client", ["a-service"])

    def certify(self, name: str, hosts: Iterable[str], **options: Any) -> None:
        """Write a certificate, in place of the one that was there."""
        made = self.authority.issue_cert(*hosts, **options)
        made.private_key_pem.write_to_path(str(self._file(f"{name}.key")))
        made.cert_chain_pems[0].write_to_path(str(self._file(f"{name}.pem")))

    async def grant(self, app: Path, *, environment: Mapping[str, str]) -> None:
        """Make a key for each identity of the apps' bus, and write down what each may do."""
        apps = (app, *self.others)
        described = [await self._described(each, environment) for each in apps]
        listed = json.loads(await _said("permissions", *described, *self._tenants, "--format=json"))
        for identity in [*listed, ADMIN]:
            self.renew(identity)
        keys = [f"--key={identity}={self.keys[identity]}" for identity in listed]
        said = await _said("permissions", *described, *self._tenants, *keys)
        self.write(json.loads(said.removeprefix("accounts: ")))

    def renew(self, identity: str) -> str:
        """A new key in place of the old one; the server does not know it yet."""
        seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
        self.seed_file(identity).write_bytes(bytes(seed) + b"\n")
        self.keys[identity] = nkeys.from_seed(bytearray(seed)).public_key.decode()
        return self.keys[identity]

    def rotate(self, *whose: str) -> None:
        """New keys in the files and in the server's configuration, which it has to read again."""
        text = json.dumps(self.accounts)
        for identity in whose:
            before = self.keys[identity]
            text = text.replace(before, self.renew(identity))
        self.write(json.loads(text))

    def write(self, accounts: dict[str, Any]) -> None:
        self.accounts = accounts
        admin = {"nkey": self.keys[ADMIN]}
        services = accounts[ACCOUNT]
        whole = {**accounts, ACCOUNT: {**services, "users": [*services["users"], admin]}}
        self._file("accounts.conf").write_text(f"accounts: {json.dumps(whole)}\n")

    def configuration(self, folder: Path) -> str:
        """What a server's configuration in this folder has beside the rest."""
        return CONFIG.format(
            certificate=json.dumps(str(self._file("server.pem"))),
            key=json.dumps(str(self._file("server.key"))),
            ca=json.dumps(str(self._file("ca.pem"))),
            accounts=json.dumps(os.path.relpath(self._file("accounts.conf"), folder)),
        )

    def seed_file(self, identity: str) -> Path:
        return self._file(f"{identity}.nk")

    def environment(self, identity: str) -> dict[str, str]:
        """What a service is told to get in."""
        return {
            "NATS_NKEY_SEED_FILE": str(self.seed_file(identity)),
            "NATS_TLS_CA_FILE": str(self._file("ca.pem")),
            "NATS_TLS_CERT_FILE": str(self._file("client.pem")),
            "NATS_TLS_KEY_FILE": str(self._file("client.key")),
        }

    def access(self, identity: str) -> Access:
        told = self.environment(identity)
        return Access(**{k.removeprefix("NATS_").lower(): v for k, v in told.items()})

    def settings(self, identity: str, *urls: str, **changes: Any) -> BusSettings:
        return BusSettings(urls, "test", identity=identity, access=self.access(identity), **changes)

    def service(self, module: str) -> dict[str, str]:
        """What a service of the first app is told, by its module."""
        return self.environment(
            {
                "teambus_gateway": identities.GATEWAY,
                "teambus_team_runner": identities.team_runner(self.app_id),
                "teambus_hook_runner": identities.hook_runner(self.app_id),
            }[module]
        )

    @property
    def _tenants(self) -> list[str]:
        return [f"--tenant={tenant}" for tenant in self.tenants]

    async def _described(self, app: Path, environment: Mapping[str, str]) -> str:
        said = await _said(
            *("describe", "--app", str(app), "--app-dir", str(app.parent)), environment=environment
        )
        file = self._file(f"{app.stem}.json")
        file.write_text(said)
        self.app_id = self.app_id or json.loads(said)["id"]
        return f"--description={file}"

    def _file(self, name: str) -> Path:
        return self.folder / name


class LockedServer(NatsServer):
    """A nats-server behind a lock, if there is one."""

    def __init__(self, folder: Path, lock: Lock | None) -> None:
        super().__init__(folder)
        self.lock = lock

    @property
    def url(self) -> str:
        plain = super().url
        return plain if self.lock is None else plain.replace("nats://", "tls://")

    def reload(self) -> None:
        """Have it read its configuration again."""
        os.kill(self.pid, signal.SIGHUP)

    def _prepare(self) -> BinaryIO:
        early_log = super()._prepare()
        if self.lock is None:
            return early_log
        with self._config_file.open("a", encoding="utf-8") as config:
            config.write(self.lock.configuration(self.folder))
        return early_log


def refused(logs: Iterable[Path], keys: Mapping[str, str]) -> list[tuple[str, str]]:
    """Who was refused what, by the servers' own word. A reply is let through on the connection
    that was asked alone, so one that comes after an outage counts as none.
    """
    names = {key: identity for identity, key in keys.items()}
    text = "".join(log.read_text(errors="replace") for log in logs)
    found = [(names[key], subject) for key, _, subject in VIOLATION.findall(text)]
    assert text.count("Violation - ") == len(found), text
    return [each for each in found if not each[1].startswith(("_INBOX.", "_R_."))]


async def _said(*words: str, environment: Mapping[str, str] | None = None) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "teambus", *words),
        env={**os.environ, **(environment or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, wrong = await process.communicate()
    assert process.returncode == 0, wrong.decode()
    return said.decode()
