"""Getting in: whom a process trusts, what it proves, and what it says when that fails."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import trustme

from teambus.bus.access import Access
from teambus.bus.client import BusClient
from teambus.bus.connection import Bus, BusSettings, connect
from teambus.bus.errors import BusUnavailable
from teambus.bus.permissions import provision
from teambus.bus.publish import Publication, publish
from teambus.local.nats_server import NatsServer
from tests.support.locked import ADMIN, Lock, LockedServer
from tests.support.nats_operator import Operator
from tests.support.system import until

WAIT_S = 30
PASSWORD = "a password that is in no log"


@pytest.fixture
async def lock(tmp_path: Path) -> Lock:
    """Of a bus of two: one that may do everything, and a service that may write."""
    lock = Lock(tmp_path / "lock")
    lock.renew(ADMIN)
    lock.renew("gateway")
    _allow(lock)
    return lock


def _allow(lock: Lock, **others: str) -> None:
    """Let in the keys there are now, and `others` by their password."""
    users: list[dict[str, Any]] = [{"nkey": lock.keys["gateway"]}]
    users += [{"user": name, "password": word} for name, word in others.items()]
    lock.write({"TEAMBUS": {"jetstream": "enabled", "users": users}})


@pytest.fixture
async def server(tmp_path: Path, lock: Lock) -> AsyncIterator[LockedServer]:
    async with LockedServer(tmp_path / "nats", lock) as server:
        yield server


def settings_of(server: LockedServer, identity: str = "gateway", **changes: Any) -> BusSettings:
    quick = {"connect_timeout_s": 2, "request_timeout_s": 1, "refused_s": 20, "name": "gateway"}
    assert server.lock is not None
    return replace(server.lock.settings(identity, server.url), **{**quick, **changes})


async def why_not(settings: BusSettings) -> str:
    """What is said to whoever is not let in."""
    with pytest.raises(BusUnavailable) as refused:
        async with connect(settings):
            pass
    return str(refused.value)


async def test_who_has_the_key_and_trusts_the_authority_is_let_in(server: LockedServer) -> None:
    async with connect(settings_of(server)) as bus:
        assert await bus.request("$JS.API.INFO", b"") is not None


async def test_a_server_that_another_signed_is_told_nothing(
    server: LockedServer, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    settings = settings_of(server)
    access = replace(settings.access, tls_ca_file=str(tmp_path / "other.pem"))
    said = await why_not(replace(settings, access=access))
    assert "certificate is not trusted" in said
    assert "NATS_TLS_CA_FILE" in said


async def test_a_certificate_that_has_run_out_is_named_as_that(
    server: LockedServer, lock: Lock
) -> None:
    past = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    lock.certify("server", lock.hosts, not_after=past)
    server.reload()
    await until(lambda: _says(settings_of(server), "certificate has expired"), WAIT_S, "it is fine")


async def _says(settings: BusSettings, what: str) -> bool:
    try:
        async with connect(settings):
            return False
    except BusUnavailable as error:
        return what in str(error)


async def test_a_server_without_tls_is_told_nothing(tmp_path: Path, lock: Lock) -> None:
    async with NatsServer(tmp_path / "plain") as plain:
        plainly = BusSettings((plain.url,), "gateway", connect_timeout_s=2)
        by_address = replace(plainly, urls=(plain.url.replace("nats://", "tls://"),))
        by_file = replace(plainly, access=lock.access("gateway"))
        for each in (by_address, by_file):
            assert "the server has no TLS" in await why_not(each)
        async with connect(plainly) as bus:
            assert bus.connected


async def test_who_has_no_certificate_is_told_that_one_is_wanted(server: LockedServer) -> None:
    settings = settings_of(server)
    access = replace(settings.access, tls_cert_file=None, tls_key_file=None)
    assert "NATS_TLS_CERT_FILE" in await why_not(replace(settings, access=access))


FILES = ["nkey_seed_file", "credentials_file", "tls_ca_file", "tls_cert_file", "tls_key_file"]


async def test_a_file_that_is_missing_or_damaged_is_named_and_not_told(
    server: LockedServer, tmp_path: Path
) -> None:
    missing, damaged = tmp_path / "missing", tmp_path / "damaged"
    damaged.write_text("SU-something that should not be told")
    settings = settings_of(server)
    access = replace(settings.access, nkey_seed_file=None)
    wrong = [(field, file) for field in FILES for file in (missing, damaged)]
    said = await asyncio.gather(
        *(
            why_not(replace(settings, access=replace(access, **{field: str(file)})))
            for field, file in wrong
        )
    )
    for (field, file), text in zip(wrong, said, strict=True):
        # A key that is none is met when it is put to the certificate.
        name = "tls_cert_file" if (field, file) == ("tls_key_file", damaged) else field
        assert f"NATS_{name.upper()}" in text
        assert "should not be told" not in text


async def test_a_wrong_password_is_refused_and_the_right_one_read_again(
    server: LockedServer, lock: Lock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _allow(lock, somebody=PASSWORD)
    server.reload()
    word = tmp_path / "word"
    word.write_text(f"{PASSWORD}, but another\n")
    settings = settings_of(server)
    access = replace(settings.access, nkey_seed_file=None, user="somebody", password_file=str(word))
    by_word = replace(settings, access=access, connect_timeout_s=WAIT_S)
    connecting = asyncio.create_task(_connected(by_word))
    await until(lambda: _logged(server, "authentication error"), WAIT_S, "it is not refused")
    word.write_text(f"{PASSWORD}\n")
    assert await connecting
    assert PASSWORD not in "".join(capsys.readouterr())


async def _connected(settings: BusSettings) -> bool:
    async with connect(settings) as bus:
        return bus.connected


async def _logged(server: LockedServer, what: str) -> bool:
    return what in (server.folder / "nats-server.log").read_text()


async def test_a_new_key_is_taken_while_messages_are_written_and_none_is_lost(
    server: LockedServer, lock: Lock
) -> None:
    """The file first, then the server: whoever is put out comes again with what the file says."""
    admin = settings_of(server, ADMIN)
    async with connect(admin) as watching, connect(settings_of(server)) as bus:
        await watching.client.jetstream().add_stream(name="S", subjects=["s.*"])
        written: list[int] = []
        stop = asyncio.Event()
        writing = [asyncio.create_task(_write(bus, n, written, stop)) for n in range(8)]
        for _ in range(3):
            enough = len(written) + 50
            await until(lambda more=enough: _has(written, more), WAIT_S, "it stopped")  # type: ignore[misc]  # the default binds it
            connected_at = bus.reconnected_at
            lock.renew("gateway")
            _allow(lock)
            server.reload()
            await until(lambda at=connected_at: _came_again(bus, at), WAIT_S, "it is out")  # type: ignore[misc]  # the default binds it
        stop.set()
        await asyncio.gather(*writing)
        assert not bus.closed.is_set()
        state = (await watching.client.jetstream().stream_info("S")).state
        assert state.messages == len(written) == len(set(written))


async def _has(written: list[int], count: int) -> bool:
    return len(written) >= count


async def _came_again(bus: Bus, before: float) -> bool:
    return bus.connected and bus.reconnected_at > before


async def _write(bus: Bus, writer: int, written: list[int], stop: asyncio.Event) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        message = Publication(f"s.{writer}", b"{}", f"{writer}-{number}")
        written.append((await publish(bus, message)).seq)


async def test_new_certificates_are_taken_at_the_next_connection(
    server: LockedServer, lock: Lock
) -> None:
    async with connect(settings_of(server)) as bus:
        lock.authority = trustme.CA()
        lock.authority.cert_pem.write_to_path(str(lock.folder / "ca.pem"))
        lock.certify("server", lock.hosts)
        lock.certify("client", ["a-service"])
        await server.restart()
        await until(lambda: bus.request("$JS.API.INFO", b""), WAIT_S, "it is out")


class Stubborn(BusClient):
    """Takes being cancelled for a try that failed, as the client does at times, and goes on."""

    tries = 0

    async def connect(self, *_: Any, **__: Any) -> None:
        while self.tries < 3:
            self.tries += 1
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()


async def test_a_client_that_does_not_give_up_is_given_up() -> None:
    client = Stubborn(Access(), wants_tls=False)
    async with asyncio.timeout(WAIT_S):
        await client.connect_within(0.01)
    assert client.tries == 3


def test_what_cannot_be_meant_is_refused() -> None:
    for wrong in (
        {"user": "u"},
        {"password_file": "f"},
        {"tls_cert_file": "f"},
        {"nkey_seed_file": "f", "credentials_file": "g"},
        {"nkey_seed_file": "f", "user": "u", "password_file": "g"},
    ):
        with pytest.raises(ValueError, match="NATS_"):
            Access(**wrong)


class OperatedServer(NatsServer):
    """One that knows nobody but its operator."""

    operator = Operator()

    def _prepare(self) -> BinaryIO:
        early_log = super()._prepare()
        with self._config_file.open("a", encoding="utf-8") as config:
            config.write(self.operator.configuration())
        return early_log


async def test_credentials_that_run_out_are_replaced_by_those_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "service.creds"
    async with OperatedServer(tmp_path / "nats") as server:
        server.operator.write_credentials(file, provision(), lasts_s=2)
        access = Access(credentials_file=str(file))
        settings = BusSettings((server.url,), "provision", access=access, refused_s=WAIT_S)
        async with connect(settings) as bus:
            connected_at = bus.reconnected_at
            server.operator.write_credentials(file, provision())
            await until(lambda: _came_again(bus, connected_at), WAIT_S, "it was not put out")
            await bus.client.publish("teambus.v1.request.default.t.std", b"{}")
            await until(lambda: _is_refused(bus), WAIT_S, "it may do more than it should")


async def _is_refused(bus: Bus) -> bool:
    return "teambus.v1.request" in str(bus.violation)
