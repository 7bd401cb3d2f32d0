"""Ports on this machine: one that is asked for, or a free one."""

import random
import socket

from teambus.local.errors import LocalError

FREE_PORT_TRIES_MAX = 200
# Below what systems hand out to outgoing connections: a client that reconnects to a port nobody
# listens on could otherwise be given that very port, and connect to itself.
FREE_PORTS = range(20_000, 32_000)


def bind(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet; port 0 takes a free one."""
    family, address = _address(host, port)
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise port_error(host, port, error) from error
    return bound


def port_error(host: str, port: int, error: OSError) -> LocalError:
    if isinstance(error, PermissionError):
        return LocalError(f"port {port} is not permitted; choose one above 1023 with --port")
    if "in use" in str(error).lower():
        return LocalError(
            f"port {port} is in use; stop what listens there or choose another with --port"
        )
    return LocalError(f"cannot listen on {host} port {port}: {error.strerror or error}")


def free_port(host: str = "127.0.0.1") -> int:
    for port in random.sample(FREE_PORTS, FREE_PORT_TRIES_MAX):
        if _is_free(host, port):
            return port
    raise LocalError(f"no free port was found on {host}")


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _address(host: str, port: int) -> tuple[socket.AddressFamily, tuple[object, ...]]:
    """IPv4 first: `localhost` is where most clients look for it."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise LocalError(f"host {host!r} is not known: {error.strerror or error}") from error
    found.sort(key=lambda each: each[0] != socket.AF_INET)
    family, _, _, _, address = found[0]
    return family, address
