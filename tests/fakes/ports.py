"""Ports of loopback that stay free between choosing one and using it.

Asked for any port, the system answers one of those that it also gives to outgoing connections: before a server that
is told its port has bound that one, a connection of any program on the machine may have it. Those below are given to
nobody who does not ask for them by number.
"""

from __future__ import annotations

import random
import socket
from typing import Final

__all__ = ["free_port"]

_FIRST: Final = 10_000
_LAST: Final = 32_000
"""Linux gives out ports from 32768 on, the other systems from 49152 on."""
_given: Final[set[int]] = set()


def free_port() -> int:
    """A TCP port of loopback that nobody listens on; another one with each call."""
    while True:
        port = random.randint(_FIRST, _LAST)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
