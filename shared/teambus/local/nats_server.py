"""A nats-server of our own: its store in a folder, under a keeper, always at the same port."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from teambus.local import keeper
from teambus.local.binary import find_binary
from teambus.local.errors import LocalError, StoreInUse
from teambus.local.ports import free_port

CONFIG = """\
server_name: teambus-local
host: {host}
port: {port}
ports_file_dir: {ports}
logfile: {log}
logfile_size_limit: {log_bytes_max}
logfile_max_num: 2
max_payload: {payload_bytes_max}
jetstream {{
  store_dir: {store}
  sync_interval: {sync_interval}
  max_file_store: {store_bytes_max}
  max_memory_store: {memory_bytes_max}
}}
"""
KEEPER = str(Path(keeper.__file__).resolve())
FIRST_PORTS_MAX = 5
LOG_TAIL_LINES = 5


@dataclass(frozen=True, slots=True)
class NatsSettings:
    """`store_bytes_max` bounds what streams may reserve; it takes no room by itself."""

    host: str = "127.0.0.1"
    payload_bytes_max: int = 1024 * 1024
    sync_interval: str = "always"
    store_bytes_max: int = 256 * 1024**3
    memory_bytes_max: int = 256 * 1024**2
    log_bytes_max: int = 8 * 1024**2
    ready_s: float = 10
    ready_poll_s: float = 0.01
    store_wait_s: float = 5
    stop_s: float = 5


class NatsServer:
    """`async with NatsServer(folder) as server:` runs one at `server.url` until the block ends.

    Port 0 chooses a free port once and keeps it. Whatever way this process dies, it goes too.
    """

    def __init__(
        self, folder: Path, *, port: int = 0, settings: NatsSettings | None = None
    ) -> None:
        self.folder = folder.absolute()
        self.port = port
        self.pid = 0
        self.settings = settings or NatsSettings()
        self._keeper: asyncio.subprocess.Process | None = None
        self._held = -1

    @property
    def url(self) -> str:
        assert self.port, "not started"
        return f"nats://{self.settings.host}:{self.port}"

    @property
    def running(self) -> bool:
        return self._keeper is not None and self._keeper.returncode is None

    async def start(self) -> None:
        """Returns once it accepts connections; raises `LocalError` saying why it does not."""
        if self.port:
            return await self._start()
        for _ in range(FIRST_PORTS_MAX - 1):
            self.port = free_port(self.settings.host)
            with contextlib.suppress(_PortTaken):
                return await self._start()
        self.port = free_port(self.settings.host)
        return await self._start()

    async def stop(self) -> None:
        """Let it close its store; after `stop_s` it is killed. May be called twice."""
        await self._end()
        self._forget()

    async def kill(self) -> None:
        """SIGKILL, as a crash would; returns once it is gone."""
        assert self.running, "not running"
        os.kill(self.pid, signal.SIGKILL)
        await self.ended()
        self._forget()

    async def restart(self) -> None:
        """At the same port with the same store, whether it runs, was stopped or was killed."""
        await self.stop()
        await self.start()

    async def ended(self) -> int:
        """Wait for it to end, for whatever reason."""
        assert self._keeper is not None, "not started"
        code = await self._keeper.wait()
        if code < 0 and self.pid:
            # The keeper was killed; where the kernel does not take nats-server along, we do.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        return code

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _start(self) -> None:
        assert not self.running, "already running"
        self._forget()
        binary = await asyncio.to_thread(find_binary)
        early_log = await asyncio.to_thread(self._prepare)
        try:
            with early_log:
                await self._start_keeper(binary, early_log)
            async with asyncio.timeout(self.settings.ready_s):
                await self._listening()
        except TimeoutError as error:
            await self.stop()
            raise self._failure(f"was not ready within {self.settings.ready_s:g} s") from error
        except BaseException:
            await self.stop()
            raise

    async def _start_keeper(self, binary: Path, early_log: BinaryIO) -> None:
        watched, self._held = os.pipe()
        options = ["--watch-fd", str(watched), "--lock", str(self.folder / "lock")]
        options += ["--lock-wait-s", str(self.settings.store_wait_s)]
        command = [str(binary), "-c", str(self._config_file)]
        try:
            self._keeper = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", KEEPER),
                *(*options, "--", *command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=early_log,
                stderr=early_log,
                pass_fds=(watched,),
                start_new_session=True,
            )
        finally:
            os.close(watched)

    async def _listening(self) -> None:
        assert self._keeper is not None
        while not (pid := self._listening_pid()):
            if (code := self._keeper.returncode) is not None:
                raise self._failure(f"ended with code {code}", code)
            await asyncio.sleep(self.settings.ready_poll_s)
        self.pid = pid

    def _listening_pid(self) -> int:
        """nats-server names its file of ports after its process id, once it listens."""
        for file in self._ports_folder.glob("*.ports"):
            with contextlib.suppress(ValueError, OSError):
                if json.loads(file.read_bytes())["nats"]:
                    return int(file.stem.rpartition("_")[2])
        return 0

    async def _end(self) -> None:
        if self._keeper is None or not self.running:
            return
        self._keeper.terminate()
        try:
            async with asyncio.timeout(self.settings.stop_s):
                await self.ended()
        except TimeoutError:
            self._keeper.kill()
            await self.ended()

    def _forget(self) -> None:
        if self._held != -1:
            os.close(self._held)
        self._held, self._keeper, self.pid = -1, None, 0

    def _failure(self, what: str, code: int | None = None) -> LocalError:
        if code == keeper.STORE_IN_USE:
            return StoreInUse(f"another nats-server has the store in {self.folder} open; stop it")
        lines = [*_tail(self._early_log_file), *_tail(self._log_file)][-LOG_TAIL_LINES:]
        text = f"nats-server {what}: {' | '.join(lines) or 'it logged nothing'}"
        return _PortTaken(text) if "address already in use" in text else LocalError(text)

    def _prepare(self) -> BinaryIO:
        """Write the configuration; returns the log of what is said before the real log is open."""
        self._ports_folder.mkdir(parents=True, exist_ok=True)
        for stale in self._ports_folder.glob("*.ports"):
            stale.unlink(missing_ok=True)
        settings = self.settings
        text = CONFIG.format(
            host=json.dumps(settings.host),
            port=self.port,
            ports=json.dumps(str(self._ports_folder)),
            log=json.dumps(str(self._log_file)),
            log_bytes_max=settings.log_bytes_max,
            payload_bytes_max=settings.payload_bytes_max,
            store=json.dumps(str(self.folder / "store")),
            sync_interval=settings.sync_interval,
            store_bytes_max=settings.store_bytes_max,
            memory_bytes_max=settings.memory_bytes_max,
        )
        self._config_file.write_text(text, encoding="utf-8")
        return self._early_log_file.open("wb")

    @property
    def _config_file(self) -> Path:
        return self.folder / "nats-server.conf"

    @property
    def _log_file(self) -> Path:
        return self.folder / "nats-server.log"

    @property
    def _early_log_file(self) -> Path:
        return self.folder / "keeper.log"

    @property
    def _ports_folder(self) -> Path:
        return self.folder / "ports"


class _PortTaken(LocalError):
    """the chosen port was taken in the meantime"""


def _tail(log: Path) -> list[str]:
    try:
        return log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return []
