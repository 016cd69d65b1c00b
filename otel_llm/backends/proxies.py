"""The proxy that the environment names, and its login: shown never, not even where the address is not well-formed."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from otel_llm.backends.loopback import is_loopback

__all__ = ["Proxy", "proxy_for"]


class Proxy(NamedTuple):
    """A proxy for plain and for tunnelled requests."""

    address: str
    """Scheme, host and port; fit to be shown."""
    login: str | None
    """User and password, with a colon between them."""


def proxy_for(url: str) -> Proxy | None:
    """The proxy that the environment names for `url`; never one for this machine.

    Passwords hold what URLs cannot (`/`, `#`, `?`), and people put them there all the same: all that stands before
    the last `@` is the login. What comes after it may still be no address; who connects finds out.
    """
    parts = urlsplit(url)
    if is_loopback(parts.hostname or ""):
        return None
    import urllib.request  # noqa: PLC0415  (a server on this machine needs none of it)

    proxies = urllib.request.getproxies()
    named = proxies.get(parts.scheme) or proxies.get("all")
    if not named or urllib.request.proxy_bypass(parts.netloc):
        return None
    scheme, separator, rest = named.strip().partition("://")
    login, at, address = (rest if separator else scheme).rpartition("@")
    host = re.split("[/?#]", address)[0]
    return Proxy(f"{scheme if separator else 'http'}://{host}", unquote(login) if at else None)
