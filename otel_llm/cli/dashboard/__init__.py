"""`otel-llm dashboard`: what the local store holds, as web pages on this machine."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from otel_llm.cli.arguments import port
from otel_llm.cli.store_argument import add_store_argument, chosen_store
from otel_llm.cli.tables import write_line

__all__ = ["HELP", "MORE", "configure", "run"]

HELP = "show the local store in a browser: calls, tokens, cost, latency, traces"
MORE = """\
examples:
  otel-llm dashboard
  otel-llm dashboard --open --port 0
  otel-llm dashboard --store copy-of-the-store.db

exit code: 0 it was ended (Ctrl-C, SIGTERM); 2 the address cannot be used, or
a wrong argument or setting
"""

_HOST: Final = "127.0.0.1"
_PORT: Final = 8321


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_store_argument(parser)
    parser.add_argument("--host", default=_HOST, metavar="NAME", help=f"the address to answer on (default: {_HOST})")
    parser.add_argument(
        "--port", type=port, default=_PORT, metavar="N", help="the port, 0 for any that is free (default: %(default)d)"
    )
    parser.add_argument(
        "--allow-remote",
        action="store_true",
        help="answer on an address that other machines reach; prompts and answers then travel unencrypted",
    )
    parser.add_argument(
        "--open", action=argparse.BooleanOptionalAction, default=False, help="open it in the browser (default: no)"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM, then return 0; raises ConfigError where it cannot be served as asked."""
    from otel_llm.cli.dashboard.serving import serve  # noqa: PLC0415  (loads sqlite3 and an HTTP server)

    store = chosen_store(args)
    serve(store, args.host, args.port, allow_remote=args.allow_remote, open_browser=args.open)
    write_line(sys.stderr, "The dashboard has ended.")
    return 0
