"""`otel-llm ship`: deliver what lies in the spool, from outside the program that recorded it.

For a job that runs after the program, a sidecar beside it (`--watch`), or by hand after a crash. A program that is
still running may deliver at the same time: one of the two does, and each span goes once.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from otel_llm.cli.arguments import seconds
from otel_llm.cli.tables import write_line
from otel_llm.errors import OtelLlmError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable
    from pathlib import Path

    from otel_llm.config import Config
    from otel_llm.contracts import Backend
    from otel_llm.delivery.courier import Courier
    from otel_llm.delivery.spool import Spool
    from otel_llm.delivery.spool_types import BackendReport
    from otel_llm.ledger import LedgerReport

__all__ = [
    "HELP",
    "MORE",
    "add_delivery_arguments",
    "chosen_service",
    "configure",
    "deliver",
    "find_spools",
    "name_others",
    "run",
    "say_nothing_spooled",
    "why_it_waits",
]

HELP = "deliver what lies in the spool"
MORE = """\
examples:
  otel-llm ship
  otel-llm ship --service billing --timeout 300
  otel-llm ship --watch

exit code: 0 nothing waits any more, or with --watch it was stopped; 1 spans
still wait; 2 a wrong argument or setting
"""

_STEP_SECONDS = 1.0
"""How often progress is written."""
_WATCH_SECONDS = 0.5
_EXIT_WAITING = 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_delivery_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON: the counts of each backend, by service")
    parser.add_argument("--watch", action="store_true", help="go on delivering until stopped (SIGTERM, Ctrl-C)")


def add_delivery_arguments(
    parser: argparse.ArgumentParser, timeout: str = "give up after this long (default: %(default)g)"
) -> None:
    """Add what `ship` and `replay` share; `timeout` says what that argument means."""
    parser.add_argument(
        "--service", metavar="NAME", help="only this service's spool (default: the configured service's, else all)"
    )
    parser.add_argument("--timeout", type=seconds, default=60.0, metavar="SECONDS", help=timeout)


def run(args: argparse.Namespace) -> int:
    """Deliver; returns 0 if nothing waits any more, else 1. Raises ConfigError for wrong settings."""
    from otel_llm import config  # noqa: PLC0415  (reads files and the environment)

    settings = config.load()
    if args.watch:
        return _watch(settings, args.service)
    spools = find_spools(settings, args.service)
    if not args.json and not any(spool.report().backends for spool in spools):
        say_nothing_spooled(settings, args.service)
        name_others(spools, settings)
        return 0
    before = [spool.report().backends for spool in spools]
    deadline = time.monotonic() + args.timeout
    codes = [
        deliver(spool, _buildable(_waiting(spool), settings), settings, timeout=deadline - time.monotonic())
        for spool in spools
    ]
    _print(spools, before, as_json=args.json)
    return max(codes, default=0)


def find_spools(settings: Config, service: str | None) -> list[Spool]:
    """The spools to look at; nothing is created on disk by looking."""
    from otel_llm.delivery.spool import Spool  # noqa: PLC0415  (loads sqlite3)
    from otel_llm.delivery.spool_types import SpoolSettings  # noqa: PLC0415

    return [Spool(directory, SpoolSettings.of(settings)) for directory in _directories(settings, service)]


def _directories(settings: Config, service: str | None) -> list[Path]:
    from otel_llm.delivery.spool_files import spool_directory  # noqa: PLC0415

    service = chosen_service(settings, service)
    if service is not None:
        return [spool_directory(settings.state_dir, service)]
    return _all_directories(settings)


def _all_directories(settings: Config) -> list[Path]:
    from otel_llm.delivery.spool_files import LOG_NAME  # noqa: PLC0415

    return sorted(log.parent for log in (settings.state_dir / "spool").glob(f"*/{LOG_NAME}"))


def chosen_service(settings: Config, named: str | None) -> str | None:
    """The service that was `named`, else the configured one, else None for all of them."""
    return named or (settings.service_name if settings.source("service_name") != "default" else None)


def say_nothing_spooled(settings: Config, named: str | None) -> None:
    """Say on stdout that there is no spool, and whose it would be."""
    service = chosen_service(settings, named)
    whose = "" if service is None else f" for service {service!r}"
    write_line(sys.stdout, f"Nothing was ever spooled{whose} in {settings.state_dir / 'spool'}.")


def name_others(shown: list[Spool], settings: Config) -> None:
    """Say on stderr which other services have a spool, where only one was looked at."""
    here = {spool.directory for spool in shown}
    others = [directory.name for directory in _all_directories(settings) if directory not in here]
    if others:
        write_line(sys.stderr, f"Other services with a spool here: {', '.join(others)} (--service NAME).")


def _waiting(spool: Spool) -> list[str]:
    return [name for name, found in spool.report().backends.items() if found.ledger.waiting]


def _buildable(names: Iterable[str], settings: Config) -> dict[str, Backend]:
    """The backends that this configuration can build; the others are named on stderr."""
    built: dict[str, Backend] = {}
    for name in names:
        backend = _build(name, settings)
        if backend is not None:
            built[name] = backend
    return built


def _build(name: str, settings: Config) -> Backend | None:
    from otel_llm import backends, config  # noqa: PLC0415

    try:
        # It may be another one than those that are configured: its settings are looked at now, or a mistake in the
        # address of Opik would mean Opik Cloud.
        return backends.build(name, settings if name in settings.backend else config.load(reads=(name,)))
    except OtelLlmError as error:
        write_line(sys.stderr, f"otel-llm: {name} is left out: {error}")
        return None


def _courier(spool: Spool, backends: dict[str, Backend], settings: Config) -> Courier:
    from otel_llm.delivery.courier import Courier, CourierSettings  # noqa: PLC0415

    return Courier(spool, backends, CourierSettings(request_timeout=settings.export_timeout))


def deliver(spool: Spool, backends: dict[str, Backend], settings: Config, *, timeout: float) -> int:
    """Deliver everything in `spool` that waits for `backends`; returns 0 if nothing waits for any backend then."""
    if backends:
        courier = _courier(spool, backends, settings)
        deadline = time.monotonic() + timeout
        while not _drained(courier, deadline - time.monotonic()) and time.monotonic() < deadline:
            pass
        courier.shutdown(1.0)
    return _EXIT_WAITING if _waiting(spool) else 0


def _drained(courier: Courier, seconds: float) -> bool:
    """Deliver for a moment; whether all is gone, or nothing can go because every backend that is owed some fails."""
    report = courier.drain(max(0.0, min(_STEP_SECONDS, seconds)))
    if report.waiting and sys.stderr.isatty():
        write_line(sys.stderr, f"{sum(report.waiting.values())} spans waiting")
    return report.complete or report.stuck


def _print(spools: list[Spool], before: list[dict[str, BackendReport]], *, as_json: bool) -> None:
    """What became of the spans that waited, since `before` was reported; the spool's own counts are older than we."""
    reports = {
        spool.directory.name: {
            name: (found, _since(earlier[name].ledger, found.ledger) if name in earlier else found.ledger)
            for name, found in spool.report().backends.items()
        }
        for spool, earlier in zip(spools, before, strict=True)
    }
    if as_json:
        data: dict[str, Any] = {
            service: {name: ledger.as_dict() for name, (_, ledger) in backends.items()}
            for service, backends in reports.items()
        }
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
        return
    for service, backends in reports.items():
        for name, (found, ledger) in backends.items():
            lost = sum(ledger.rejected.values()) + sum(ledger.dropped.values())
            why = why_it_waits(found)
            counts = f"{ledger.delivered} delivered, {ledger.waiting} waiting, {lost} rejected or dropped"
            write_line(sys.stdout, f"{service} -> {name}: {counts}{why}")


def why_it_waits(found: BackendReport) -> str:
    """Why a backend, or a workspace of it, takes nothing now; empty where nothing waits."""
    if not found.ledger.waiting:
        return ""
    whys = [found.failure, *(each.failure for each in found.parked)]
    return "".join(f"; {why}" for why in dict.fromkeys(failure.why for failure in whys if failure is not None))


def _since(before: LedgerReport, now: LedgerReport) -> LedgerReport:
    """The counts of spans that were still open `before`, or came after it."""
    return now._replace(
        created=now.created - before.created + before.waiting,
        delivered=now.delivered - before.delivered,
        rejected=dict(Counter(now.rejected) - Counter(before.rejected)),
        dropped=dict(Counter(now.dropped) - Counter(before.dropped)),
    )


def _watch(settings: Config, service: str | None) -> int:
    """Deliver until somebody stops us; what is not delivered then stays in the spool.

    A sidecar may begin before the program that it is for: spools that appear later are delivered from as well.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    couriers: dict[Path, Courier] = {}
    while True:
        for spool in find_spools(settings, service):
            if spool.directory not in couriers:
                names = dict.fromkeys([*_waiting(spool), *settings.backend])
                couriers[spool.directory] = _courier(spool, _buildable(names, settings), settings)
        for courier in couriers.values():
            courier.notify()
        if stop.wait(_WATCH_SECONDS):
            break
    with suppress(ValueError):  # a second signal ends us at once
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    complete = [courier.shutdown(settings.shutdown_timeout).complete for courier in couriers.values()]
    return 0 if all(complete) else _EXIT_WAITING
