"""A network of our own for a few processes, each on a machine of its own as far as it can see."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "tbus"
MISSING = "network namespaces need root and iproute2"


def may_make_networks() -> bool:
    return os.geteuid() == 0 and shutil.which("ip") is not None


class Network:
    """Hosts 1 to `count` on one switch, which this process is on too."""

    def __init__(self, count: int) -> None:
        self._name = f"{PREFIX}{os.getpid()}"
        self._net = f"10.213.{os.getpid() % 250 + 1}"
        self._count = count

    def address(self, host: int) -> str:
        return f"{self._net}.{10 + host}"

    def inside(self, host: int) -> tuple[str, ...]:
        """What to put before a command that is to run on a host."""
        return ("ip", "netns", "exec", self._host(host))

    def unplug(self, host: int) -> None:
        """Nothing reaches the host and nothing comes from it; nobody is told."""
        _ip("link", "set", self._cable(host), "down")

    def plug(self, host: int) -> None:
        _ip("link", "set", self._cable(host), "up")

    def part(self, host: int) -> None:
        """The host and the others do not reach each other any more, but this process all."""
        self._let_know(host, "add")

    def join(self, host: int) -> None:
        self._let_know(host, "del")

    def make(self) -> None:
        _remove_of_the_dead()
        _ip("link", "add", self._switch, "type", "bridge")
        _ip("addr", "add", f"{self._net}.1/24", "dev", self._switch)
        _ip("link", "set", self._switch, "up")
        for host in range(1, self._count + 1):
            self._make_host(host)

    def remove(self) -> None:
        for host in range(1, self._count + 1):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "del", self._host(host))
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("link", "del", self._switch)

    def _make_host(self, host: int) -> None:
        name, cable = self._host(host), self._cable(host)
        _ip("netns", "add", name)
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", cable, "master", self._switch, "up")
        _ip("-n", name, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        _ip("-n", name, "link", "set", "lo", "up")

    def _let_know(self, host: int, verb: str) -> None:
        for other in self._others(host):
            for here, there in ((host, other), (other, host)):
                _ip("-n", self._host(here), "route", verb, "blackhole", self.address(there))

    def _others(self, host: int) -> list[int]:
        return [other for other in range(1, self._count + 1) if other != host]

    @property
    def _switch(self) -> str:
        return f"{self._name}s"

    def _host(self, host: int) -> str:
        return f"{self._name}h{host}"

    def _cable(self, host: int) -> str:
        return f"{self._name}c{host}"


@contextmanager
def network(count: int) -> Iterator[Network]:
    made = Network(count)
    try:
        made.make()
        yield made
    finally:
        made.remove()


def _remove_of_the_dead() -> None:
    """What a killed test run left behind."""
    for name in re.findall(rf"\b{PREFIX}(\d+)h\d", _ip("netns", "list")):
        if not Path(f"/proc/{name}").exists():
            for host in re.findall(rf"\b{PREFIX}{name}h\d", _ip("netns", "list")):
                _ip("netns", "del", host)
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("link", "del", f"{PREFIX}{name}s")


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
    return done.stdout
