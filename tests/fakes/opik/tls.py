"""A private certificate authority and a server certificate from it, for servers on loopback."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ServerCertificate"]


class ServerCertificate:
    """A certificate for `localhost` and `127.0.0.1` (or other names) that only its own CA vouches for."""

    def __init__(self, *names: str) -> None:
        self._ca = trustme.CA()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*(names or ("localhost", "127.0.0.1"))).configure_cert(self.context)

    def write_ca(self, path: Path) -> Path:
        """Write the CA's certificate as PEM, for `SSL_CERT_FILE` and its like; returns `path`."""
        self._ca.cert_pem.write_to_path(str(path))
        return path
