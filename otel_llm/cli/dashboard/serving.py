"""Opens the port, says where, and serves until somebody ends it."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import sys
import threading
from typing import TYPE_CHECKING, Final

from otel_llm.cli.dashboard.access import KEY, Access, is_loopback
from otel_llm.cli.dashboard.server import DashboardServer
from otel_llm.cli.signals import sigterm_like_ctrl_c
from otel_llm.cli.tables import write_line
from otel_llm.errors import ConfigError, StoreError
from otel_llm.store.call_pages import calls
from otel_llm.store.dashboard.pages import Pages

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["serve"]

_QUESTION_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.2


def serve(store: Path, host: str, port: int, *, allow_remote: bool, open_browser: bool) -> None:
    """Serve the pages about `store` on `host:port` until Ctrl-C or SIGTERM.

    Raises ConfigError where the port cannot be opened, or where others could read it and nobody said that they may.
    """
    remote = not is_loopback(host)
    if remote and not allow_remote:
        raise ConfigError(_refusal(host, port))
    access = Access(host, remote=remote)
    server = _opened(host, port, Pages(store, seconds=_QUESTION_SECONDS), access)
    try:
        with contextlib.suppress(KeyboardInterrupt), sigterm_like_ctrl_c():
            _announce(store, _url(host, server.port), access, remote=remote)
            if open_browser:
                _open(_url(host, server.port), access)
            server.serve_forever(_POLL_SECONDS)
    finally:
        server.server_close()


def _refusal(host: str, port: int) -> str:
    tunnel = f"ssh -L {port or 8321}:127.0.0.1:{port or 8321} THIS_MACHINE"
    return (
        f"--host {host} is an address that other machines may reach, and the pages, with prompts and answers, are not "
        "encrypted: whoever reads along on the network has them. Leave --host out, and from another machine go through "
        f"ssh: `{tunnel}`, then open there the address that is printed here. Where nobody else is on the network, as "
        "inside a container, say --allow-remote."
    )


def _opened(host: str, port: int, pages: Pages, access: Access) -> DashboardServer:
    try:
        return DashboardServer(host, port, pages, access)
    except (OSError, UnicodeError) as error:
        why, likely = (
            getattr(error, "strerror", None) or error,
            _LIKELY.get(getattr(error, "errno", 0), _NO_SUCH_HOST),
        )
        raise ConfigError(f"Port {port} of {host} cannot be opened ({why}). {likely}") from error


_NO_SUCH_HOST: Final = "Most likely the host is no address of this machine: leave --host out, or correct it."
_LIKELY: Final = {
    errno.EADDRINUSE: "Most likely another dashboard, or another program, answers there already: stop it, or choose "
    "another port with --port (0 takes any that is free).",
    errno.EACCES: "Ports below 1024 are the system's: choose a higher one with --port (0 takes any that is free).",
}


def _announce(store: Path, url: str, access: Access, *, remote: bool) -> None:
    """The address on stdout, everything else on stderr."""
    try:
        known = calls(store, limit=1)
        note = "" if known else " No calls are recorded there yet."
    except StoreError as error:
        note = f" {error}"
    write_line(sys.stderr, f"Dashboard of {store}, until Ctrl-C.{note}")
    if remote:
        write_line(
            sys.stderr,
            "Other machines reach this address. The key and the pages, with prompts and answers, are not encrypted: "
            "whoever reads along on the network has them.",
        )
    write_line(sys.stdout, f"{url}/?{KEY}={access.key}")
    sys.stderr.flush()
    sys.stdout.flush()


def _url(host: str, port: int) -> str:
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_unspecified:
            host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _open(url: str, access: Access) -> None:
    """Open the browser from a thread, as some browsers keep whoever starts them."""
    import webbrowser  # noqa: PLC0415  (looks for browsers)

    address = f"{url}/?{KEY}={access.key_for_once()}"
    threading.Thread(target=webbrowser.open, args=(address,), name="otel-llm-browser", daemon=True).start()
