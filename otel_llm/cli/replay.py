"""`otel-llm replay --to NAME`: send spans that are stored here to another backend, or again to the same one.

What is stored: what waits in the spool for other backends, what `spool.keep_delivered` kept there, what was rejected
(`--rejected`), and the local store. All of it goes through the spool of its service, so that an interruption or an
outage loses nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

from otel_llm.cli.ship import add_delivery_arguments, chosen_service, find_spools, name_others, why_it_waits
from otel_llm.cli.tables import write_line
from otel_llm.errors import ConfigError
from otel_llm.store.moments import parse_moment

if TYPE_CHECKING:
    from otel_llm.config import Config
    from otel_llm.delivery.courier import Courier
    from otel_llm.delivery.spool import Spool
    from otel_llm.ledger import LedgerReport

__all__ = ["HELP", "MORE", "configure", "run"]

HELP = "send spans that are stored here to another backend"
MORE = """\
examples:
  otel-llm replay --to opik --since 24h
  otel-llm replay --to opik --from spool --rejected
  OTEL_LLM_OTLP_ENDPOINT=http://collector:4318 otel-llm replay --to otlp

exit code: 0 all of it arrived; 1 not all did, or it cannot be read; 2 a wrong
argument or setting
"""

_STEP_SECONDS = 1.0
"""How often progress is written."""
_AHEAD_SPANS = 2048
"""Spans of the local store that may wait in the spool at a time: it has other work too."""
_PARKED_SPANS = 16 * _AHEAD_SPANS
"""Spans that may wait for closed workspaces besides: they hold up no others, but take room from them."""


class _Period(NamedTuple):
    since: datetime | None
    until: datetime | None


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--to", required=True, metavar="BACKEND", help="where to send it: opik, otlp, local, file ...")
    parser.add_argument(
        "--since", type=_moment, metavar="WHEN", help="only spans recorded at or after this: 24h, 7d, 2026-11-01"
    )
    parser.add_argument("--until", type=_moment, metavar="WHEN", help="only spans recorded before this")
    parser.add_argument(
        "--from",
        dest="source",
        choices=("all", "spool", "store"),
        default="all",
        help="what to send: what lies in the spool, the local store, or both (default)",
    )
    parser.add_argument(
        "--rejected", action="store_true", help="also what this backend had rejected and the quarantine still holds"
    )
    add_delivery_arguments(parser, timeout="give up when nothing has moved for this long (default: %(default)g)")


def run(args: argparse.Namespace) -> int:
    """Queue and deliver; returns 0 if all of it arrived, else 1. Raises ConfigError, BackendError and StoreError."""
    from otel_llm import config  # noqa: PLC0415  (reads files and the environment)

    period = _Period(args.since, args.until)
    if period.since and period.until and period.since >= period.until:
        raise ConfigError(
            f"--since {period.since.isoformat()} is not before --until {period.until.isoformat()}. Swap them."
        )
    settings = config.load({"backend": args.to})
    replays = {
        spool.directory.name: _Replay(spool, args, settings)
        for spool in (find_spools(settings, args.service) if args.source != "store" else ())
    }
    stored = _stored_services(args, settings, period)
    for replay in replays.values():
        replay.queue_from_spool(period, rejected=args.rejected)
    for service in stored:
        spool = _spool_of(service, settings)
        if spool.directory.name not in replays:
            replays[spool.directory.name] = _Replay(spool, args, settings)
        replays[spool.directory.name].queue_from_store(service, period)
    if not any(replay.had_any for replay in replays.values()):
        _say_nothing_stored(args, settings)
    return max((replay.finish() for replay in replays.values()), default=0)


class _Replay:
    """The stored spans of one service on their way to one backend."""

    def __init__(self, spool: Spool, args: argparse.Namespace, settings: Config) -> None:
        self._spool = spool
        self._to: str = args.to
        self._patience: float = args.timeout
        self._settings = settings
        self._courier = _courier(spool, args.to, settings)
        self._before = self._ledger()
        self._sent: set[tuple[str, str]] = set()
        """Trace and span ids of what lay in the spool: the local store may have the same spans."""
        self.had_any = False
        """Whether anything was stored that it could have sent."""
        self._title = f"{spool.directory.name} -> {self._to}"

    def queue_from_spool(self, period: _Period, *, rejected: bool) -> None:
        """Let what lies in the spool wait for the backend, and deliver it."""
        spans = self._spool.replay(
            self._to,
            since=period.since.timestamp() if period.since else 0.0,
            until=period.until.timestamp() if period.until else float("inf"),
            quarantined=rejected,
        )
        self.had_any |= spans > 0
        write_line(sys.stderr, f"{self._title}: {spans} spans of the spool are to be sent.")
        self._sent = _ids_waiting(self._spool, self._to)
        self._deliver(down_to=0)

    def queue_from_store(self, service: str, period: _Period) -> None:
        """Send what the local store has of a service, piece by piece, without what was in the spool."""
        from otel_llm.store.stored import count_stored, stored_batches  # noqa: PLC0415  (loads sqlite3)

        path = self._settings.store_path
        spans, numbers_only = count_stored(path, service, *period)
        self.had_any |= spans + numbers_only > 0
        left_out = f"; of {numbers_only} more only numbers are stored" if numbers_only else ""
        write_line(sys.stderr, f"{self._title}: {spans} spans of the local store are to be sent{left_out}.")
        reached = 0
        try:
            for stored in stored_batches(path, service, *period, self._sent):
                self._spool.append(stored.batch)
                reached = stored.until_ns
                if self._waiting() > _AHEAD_SPANS and not self._deliver(down_to=_AHEAD_SPANS // 2):
                    break
            else:
                reached = 0
                self._deliver(down_to=0)
        finally:
            if reached:
                moment = datetime.fromtimestamp(reached // 1_000_000_000, timezone.utc).isoformat()
                write_line(sys.stderr, f"{self._title}: stopped; go on later with --from store --since {moment}")

    def finish(self) -> int:
        """Say what became of it; 0 if all of it arrived."""
        self._courier.shutdown(1.0)
        found = self._spool.report().backends.get(self._to)
        ledger = self._ledger()
        delivered = ledger.delivered - self._before.delivered
        lost = _grown(self._before.rejected, ledger.rejected) + _grown(self._before.dropped, ledger.dropped)
        why = why_it_waits(found) if found is not None else ""
        counts = f"{delivered} spans delivered, {ledger.waiting} waiting, {lost} rejected or dropped"
        write_line(sys.stdout, f"{self._title}: {counts}{why}")
        return 1 if ledger.waiting or lost else 0

    def _ledger(self) -> LedgerReport:
        from otel_llm.ledger import LedgerReport  # noqa: PLC0415

        found = self._spool.report().backends.get(self._to)
        return found.ledger if found is not None else LedgerReport(self._to, 0, 0, {}, {})

    def _waiting(self) -> int:
        """Spans that are on their way; those for closed workspaces are not, unless they become too many."""
        found = self._spool.report().backends.get(self._to)
        if found is None:
            return 0
        parked = sum(each.waiting for each in found.parked if each.failure is not None)
        return found.ledger.waiting - min(parked, _PARKED_SPANS)

    def _deliver(self, *, down_to: int) -> bool:
        """Deliver until at most `down_to` spans wait; False once the backend takes nothing.

        A backend that has taken some of it is waited for; one that fails from the start is not.
        """
        waiting, moved_at = self._waiting(), time.monotonic()
        while waiting > down_to:
            self._courier.drain(_STEP_SECONDS)
            ledger, left = self._ledger(), self._waiting()
            if left < waiting:
                waiting, moved_at = left, time.monotonic()
                delivered = ledger.delivered - self._before.delivered
                write_line(sys.stderr, f"{self._title}: {delivered} spans delivered, {ledger.waiting} waiting")
            elif time.monotonic() - moved_at > self._patience or self._is_hopeless(ledger):
                return False
        return True

    def _is_hopeless(self, ledger: LedgerReport) -> bool:
        failing = self._courier.report()[self._to].failure is not None
        return failing and ledger.delivered == self._before.delivered


def _say_nothing_stored(args: argparse.Namespace, settings: Config) -> None:
    service = chosen_service(settings, args.service)
    what = "nothing" if service is None else f"nothing of service {service!r}"
    spool = settings.state_dir / "spool"
    where = str({"all": settings.state_dir, "spool": spool, "store": settings.store_path}[args.source])
    if args.to == "local" and args.source == "all":
        where = f"{spool} (what {settings.store_path} holds is there already)"
    when = " from that period" if args.since or args.until else ""
    write_line(sys.stderr, f"otel-llm: {what}{when} is stored in {where}; nothing was sent.")
    if args.source != "store":
        name_others(find_spools(settings, args.service), settings)


def _courier(spool: Spool, to: str, settings: Config) -> Courier:
    from otel_llm import backends  # noqa: PLC0415  (builds connections)
    from otel_llm.delivery.courier import Courier, CourierSettings  # noqa: PLC0415

    return Courier(spool, {to: backends.build(to, settings)}, CourierSettings(request_timeout=settings.export_timeout))


def _spool_of(service: str, settings: Config) -> Spool:
    from otel_llm.delivery.spool import Spool  # noqa: PLC0415  (loads sqlite3)
    from otel_llm.delivery.spool_files import spool_directory  # noqa: PLC0415
    from otel_llm.delivery.spool_types import SpoolSettings  # noqa: PLC0415

    return Spool(spool_directory(settings.state_dir, service), SpoolSettings.of(settings))


def _stored_services(args: argparse.Namespace, settings: Config, period: _Period) -> list[str]:
    """The services whose spans of the local store are to be sent: the one that is named or configured, else all."""
    from otel_llm.store.stored import services_in  # noqa: PLC0415  (loads sqlite3)

    path = settings.store_path
    if args.source == "spool" or args.to == "local" or (not path.exists() and args.source == "all"):
        return []
    named = chosen_service(settings, args.service)
    return [service for service in services_in(path, *period) if named in {None, service}]


def _ids_waiting(spool: Spool, backend: str) -> set[tuple[str, str]]:
    """Trace and span ids of everything that waits for the backend."""
    from otel_llm.wire import IllFormedPayloadError, decode  # noqa: PLC0415  (loads protobuf)

    found: set[tuple[str, str]] = set()
    for name in (backend, *spool.parked(backend)):
        after = 0
        while (parcel := spool.take(name, 1 << 20, after=after)) is not None and parcel.rows:
            after = parcel.rows[-1][0]
            try:
                request = decode(parcel.batch)
            except IllFormedPayloadError:
                continue
            scopes = (scope for group in request.resource_spans for scope in group.scope_spans)
            found.update((span.trace_id.hex(), span.span_id.hex()) for scope in scopes for span in scope.spans)
    return found


def _grown(before: dict[str, int], now: dict[str, int]) -> int:
    return sum(now.values()) - sum(before.values())


def _moment(text: str) -> datetime:
    try:
        return parse_moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
