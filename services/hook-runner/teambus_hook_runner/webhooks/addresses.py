"""Which addresses a webhook may reach: public ones, and those that were allowed by name.

Everything else is refused: an address that an outsider can choose, in a url or in a DNS answer,
must not lead into the network that the hook-runner stands in, nor to its cloud's metadata.
"""

import ipaddress
from collections.abc import Iterable
from typing import TypeAlias

from teambus.app.webhooks import Network

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# The standard library's `is_global` says different things in different releases of Python.
_NOT_PUBLIC_V4 = [
    ipaddress.IPv4Network(each)
    for each in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # A cloud's own services, at an address that looks public.
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
]
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = [
    ipaddress.IPv6Network(each) for each in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
]
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")


def is_allowed(address: str, networks: Iterable[Network]) -> bool:
    """Whether it is in one of `networks`, whatever it is written as."""
    plain = _plain(address)
    return any(plain in network for network in networks)


def is_public(address: str) -> bool:
    plain = _plain(address)
    if isinstance(plain, ipaddress.IPv4Address):
        return not any(plain in network for network in _NOT_PUBLIC_V4)
    return plain in _PUBLIC_V6 and not any(plain in network for network in _NOT_PUBLIC_V6)


def _plain(address: str) -> Address:
    """The IPv4 address that an IPv6 one stands for, if it does."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv4Address):
        return found
    if found in _TRANSLATED:
        return ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    return found.ipv4_mapped or found
