"""Who may read the dashboard: whoever has the key that the command printed, under a name that is this server's.

The store's file is readable by its owner alone, and a port on loopback by every user of the machine; so the pages ask
for a key. It comes once in the address, and from then on in a cookie that no script can read.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from typing import Final
from urllib.parse import parse_qsl, urlencode

from otel_llm.control.loopback_server import LOCAL_NAMES, host_name

__all__ = ["KEY", "Access", "is_loopback", "take_key"]

KEY: Final = "key"
"""The field of the address that holds the key."""


class Access:
    """The key of one run, and the names under which its server may be asked."""

    def __init__(self, host: str, *, remote: bool) -> None:
        self.key = secrets.token_urlsafe(24)
        self._once: set[str] = set()
        self._names = {*LOCAL_NAMES, host.lower()} | ({socket.gethostname().lower()} if remote else set())
        self._remote = remote

    def key_for_once(self) -> str:
        """A key that lets one browser in, for an address that others can see: in a list of processes, for example."""
        key = secrets.token_urlsafe(24)
        self._once.add(key)
        return key

    def knows_host(self, header: str) -> bool:
        """Whether a `Host` header names this server (see `host_name`). An address in digits is nobody's name."""
        name = host_name(header) or ""
        return name in self._names or (self._remote and _is_address(name))

    def accepts(self, key: str) -> bool:
        """Whether this is the key, or one that is good for once, which it then is no more."""
        if _same(key, self.key):
            return True
        found = next((once for once in tuple(self._once) if _same(key, once)), None)
        if found is None:
            return False
        try:
            self._once.remove(found)
        except KeyError:  # another request was quicker
            return False
        return True

    def has_cookie(self, header: str, port: int) -> bool:
        """Whether a `Cookie` header holds the key."""
        # By hand: http.cookies gives up all cookies where one of them, another program's, is not to its liking.
        pairs = (pair.strip().partition("=") for pair in header.split(";"))
        return any(name == _cookie_name(port) and _same(value, self.key) for name, _, value in pairs)

    def cookie(self, port: int) -> str:
        """The header that gives a browser the key until it is closed; all ports share cookies, so each has its own."""
        return f"{_cookie_name(port)}={self.key}; Path=/; HttpOnly; SameSite=Lax"


def take_key(query: str) -> tuple[str | None, str]:
    """The key in a query, and the query without it."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=64)
    except ValueError:
        return None, query
    keys = [value for name, value in pairs if name == KEY]
    if not keys:
        return None, query
    return keys[0], urlencode([(name, value) for name, value in pairs if name != KEY])


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address `host`; a name other than `localhost` is not looked up."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _cookie_name(port: int) -> str:
    return f"otel_llm_{port}"


def _same(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode("utf-8", "replace"), other.encode())
