"""The hosts that this process may contact, and the addresses at which it may reach them."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self
from urllib.parse import urlsplit

_NAME = re.compile(r"(?:\*\.)?[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\*")
_EMBEDDING = tuple(map(ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96")))
"""Networks of IPv6 addresses that stand for IPv4 addresses."""

Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class Target:
    """Where a request is sent: scheme, name and port of a host, and the path with its query."""

    scheme: str
    host: str
    port: int
    path: str


@dataclass(frozen=True)
class Hosts:
    """Names of hosts, such as `hooks.example.org`, `*.example.org` or `*`, and networks that need not be public."""

    names: tuple[str, ...]
    networks: tuple[IPv4Network | IPv6Network, ...]
    allows_http: bool = False

    @classmethod
    def parse(cls, text: str, *, allows_http: bool = False) -> Self:
        """Return the hosts in a list with commas; raises `ValueError` for what is neither a name nor a network."""
        names, networks = [], []
        for item in filter(None, (part.strip().lower() for part in text.split(","))):
            if "/" in item:
                networks.append(ip_network(item))
            elif _NAME.fullmatch(item):
                names.append(item)
            else:
                raise ValueError(f"each host must be a name or a network such as 10.0.0.0/8. Got: {item!r}")
        return cls(tuple(names), tuple(networks), allows_http)

    @property
    def schemes(self) -> str:
        """The schemes that are allowed, for a message."""
        return "https:// or http://" if self.allows_http else "https://"

    def parse_target(self, url: str) -> Target | None:
        """Return the target of a URL of an allowed scheme, or None for other texts."""
        target = _parse_url(url)
        if target is None or not (target.scheme == "https" or (self.allows_http and target.scheme == "http")):
            return None
        return target

    def allows_host(self, host: str) -> bool:
        """Return whether a host is named, or an address within a network that is named."""
        address = _parse_address(host)
        if address is not None and any(address in network for network in self.networks):
            return True
        return any(
            name in {"*", host} or (name.startswith("*.") and address is None and host.endswith(name[1:]))
            for name in self.names
        )

    def allows_address(self, address: Address) -> bool:
        """Return whether an address is public, or within a network that is named."""
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        if any((mapped or address) in network for network in self.networks):
            return True
        is_embedded = mapped is not None or any(address in network for network in _EMBEDDING)
        return address.is_global and not (address.is_multicast or address.is_reserved or is_embedded)


def check_networks(text: str) -> str:
    """Return a list of networks with commas; raises `ValueError` if it has anything else."""
    if names := Hosts.parse(text).names:
        raise ValueError(f"each must be a network such as 10.0.0.0/8. Got: {names[0]!r}")
    return text


def _parse_url(url: str) -> Target | None:
    if not (url.isascii() and url.isprintable()) or re.search(r"[\s\\#@]", url):
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname
        port = {"http": 80, "https": 443}.get(parts.scheme, 0) if parts.port is None else parts.port
    except ValueError:
        return None
    if not host or not port or not _is_name_possible(host.rstrip(".")):
        return None
    query = f"?{parts.query}" if parts.query else ""
    return Target(parts.scheme, host.rstrip("."), port, (parts.path or "/") + query)


def _is_name_possible(host: str) -> bool:
    """Return whether a host has the lengths of a name in DNS: 253 characters, and 1 to 63 between dots."""
    return len(host) <= 253 and all(1 <= len(label) <= 63 for label in host.split("."))


def _parse_address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
