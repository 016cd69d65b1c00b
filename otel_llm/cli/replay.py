"""`otel-llm replay --to NAME`: send what is still in the spool to another backend, or again to the same one."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from otel_llm.cli.ship import add_delivery_arguments, deliver, find_spools
from otel_llm.cli.tables import write_line
from otel_llm.cli.usage import parse_moment
from otel_llm.errors import ConfigError

if TYPE_CHECKING:
    from datetime import datetime

    from otel_llm.delivery.spool import Spool

__all__ = ["HELP", "configure", "run"]

HELP = "send what is still in the spool to another backend"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--to", required=True, metavar="BACKEND", help="where to send it: opik, otlp, local, file ...")
    parser.add_argument(
        "--since", type=_moment, metavar="WHEN", help="only spans recorded at or after this: 24h, 7d, 2026-11-01"
    )
    parser.add_argument("--until", type=_moment, metavar="WHEN", help="only spans recorded before this")
    parser.add_argument(
        "--rejected", action="store_true", help="also what this backend had rejected and the quarantine still holds"
    )
    add_delivery_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Queue and deliver; returns 0 if all of it arrived, else 1. Raises ConfigError and BackendError."""
    from otel_llm import backends, config  # noqa: PLC0415  (read files, build connections)

    since, until = args.since, args.until
    if since and until and since >= until:
        raise ConfigError(f"--since {since.isoformat()} is not before --until {until.isoformat()}. Swap them.")
    settings = config.load()
    deadline = time.monotonic() + args.timeout
    complete = True
    for spool in find_spools(settings, args.service):
        backend = backends.build(args.to, settings)
        spans = spool.replay(
            args.to,
            since=since.timestamp() if since else 0.0,
            until=until.timestamp() if until else float("inf"),
            quarantined=args.rejected,
        )
        write_line(sys.stderr, f"{spool.directory.name}: {spans} spans are to be sent to {args.to}.")
        deliver(spool, {args.to: backend}, settings, timeout=deadline - time.monotonic())
        complete = _say(spool, args.to) and complete
    return 0 if complete else 1


def _say(spool: Spool, backend: str) -> bool:
    """Print what became of it; whether all of it arrived."""
    found = spool.report().backends.get(backend)
    waiting = found.ledger.waiting if found is not None else 0
    why = f"; {found.failure.why}" if found is not None and found.failure is not None else ""
    write_line(sys.stdout, f"{spool.directory.name} -> {backend}: {waiting} spans waiting{why if waiting else ''}")
    return not waiting


def _moment(text: str) -> datetime:
    try:
        return parse_moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
