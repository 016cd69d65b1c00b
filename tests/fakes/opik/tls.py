"""A private certificate authority and a server certificate from it, for servers on loopback."""

from __future__ import annotations

import ssl
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import grpc
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

    def require_client(self) -> None:
        """Take nobody without a certificate of this CA."""
        self.context.verify_mode = ssl.CERT_REQUIRED
        self._ca.configure_trust(self.context)

    def write_client(self, directory: Path, *, expired: bool = False) -> tuple[str, str]:
        """Write a client's certificate and key as PEM; their paths."""
        long_ago = datetime(2020, 1, 1, tzinfo=timezone.utc) if expired else None
        issued = self._ca.issue_cert("client", not_before=long_ago, not_after=long_ago)
        paths = directory / "client.pem", directory / "client.key"
        issued.cert_chain_pems[0].write_to_path(str(paths[0]))
        issued.private_key_pem.write_to_path(str(paths[1]))
        return str(paths[0]), str(paths[1])

    def grpc_server(self) -> grpc.ServerCredentials:
        """Credentials of a gRPC server that takes nobody without a certificate of this CA."""
        own = self._ca.issue_cert("localhost", "127.0.0.1")
        pair = own.private_key_pem.bytes(), b"".join(pem.bytes() for pem in own.cert_chain_pems)
        return grpc.ssl_server_credentials([pair], self._ca.cert_pem.bytes(), require_client_auth=True)

    def write_ca(self, path: Path) -> Path:
        """Write the CA's certificate as PEM, for `SSL_CERT_FILE` and its like; returns `path`."""
        self._ca.cert_pem.write_to_path(str(path))
        return path
