"""`otel-llm status`: where the spans of a program are, asked from outside of it.

Reads what the program keeps on disk: the spool's own ledger for backends behind a network, the counts that programs
leave beside it for backends on this machine, and the local store. What a running program still holds in memory (a
fraction of a second's worth; of the counts of `local`, `file` and `console` up to five seconds' worth) is not in it.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from otel_llm.cli.ship import chosen_service, find_spools, name_others, say_nothing_spooled
from otel_llm.cli.tables import Column, write_line, write_table
from otel_llm.config import ON_THIS_MACHINE
from otel_llm.errors import StoreError

if TYPE_CHECKING:
    import argparse

    from otel_llm.config import Config
    from otel_llm.control.workspaces import WorkspaceStatus
    from otel_llm.delivery.spool import Spool
    from otel_llm.delivery.spool_types import BackendReport

__all__ = ["HELP", "MORE", "configure", "run"]

HELP = "show where every span is: delivered, waiting, rejected or dropped"
MORE = """\
examples:
  otel-llm status
  otel-llm status --service billing
  otel-llm status --json | jq .ok

exit code: 0 something was recorded and every backend is ok; 1 not so;
2 a wrong argument or setting
"""

_EXIT_NOT_OK = 1


@dataclass(frozen=True, slots=True)
class _Row:
    """One backend of one service, as it looks from outside."""

    service: str
    backend: str
    state: str
    cause: str | None
    created: int
    delivered: int
    waiting: int
    rejected: dict[str, int]
    dropped: dict[str, int]
    last_delivery: float | None
    oldest_waiting: float | None
    failing_since: float | None
    workspaces: tuple[WorkspaceStatus, ...]

    def as_data(self) -> dict[str, Any]:
        """For JSON; moments in Unix seconds."""
        said = {name: getattr(self, name) for name in self.__slots__ if name not in {"service", "backend"}}
        return {**said, "workspaces": [each._asdict() for each in self.workspaces]}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--service", metavar="NAME", help="only this service (default: the configured service, else all)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON: {ok, services, store}")


def run(args: argparse.Namespace) -> int:
    """Print the state; returns 0 if something was recorded and every backend is `ok`, else 1.

    A store that cannot be read hides nothing else, and counts where programs are told to write to it. Raises
    ConfigError for wrong settings.
    """
    from otel_llm import config  # noqa: PLC0415  (reads files and the environment)

    settings = config.load()
    spools = find_spools(settings, args.service)
    rows = [row for spool in spools for row in _rows(spool, settings)]
    store = _store(settings, args.service)
    # calls that went to a backend on this machine say nothing about another that is configured now
    proofs = [row for row in rows if row.backend not in ON_THIS_MACHINE or row.backend in settings.backend]
    local = "local" in settings.backend
    found = bool(proofs) or (local and bool(store["calls"]))
    ok = found and all(row.state == "ok" for row in rows) and not (local and store["trouble"])
    if args.json:
        _print_json(rows, store, ok=ok)
    else:
        if not rows:
            say_nothing_spooled(settings, args.service)
        _print_table(rows, store)
        if rows and not found:
            write_line(sys.stdout, f"Not ok: nothing was recorded for {' or '.join(settings.backend)} yet.")
    name_others(spools, settings)
    return 0 if ok else _EXIT_NOT_OK


def _rows(spool: Spool, settings: Config) -> list[_Row]:
    report = spool.report()
    rejected_lately = _rejected_lately(spool)
    return [
        _row(spool.directory.name, name, found, report.degraded, rejected_lately.get(name, 0), settings.opik.workspace)
        for name, found in report.backends.items()
    ]


def _row(service: str, name: str, found: BackendReport, trouble: str, rejected_lately: int, workspace: str) -> _Row:
    from otel_llm.control.channels import ChannelReport  # noqa: PLC0415  (loads the SDK)
    from otel_llm.control.health import judge  # noqa: PLC0415
    from otel_llm.control.workspaces import workspace_statuses  # noqa: PLC0415
    from otel_llm.delivery.spool_counts import earliest  # noqa: PLC0415

    failure, ledger = found.failure, found.ledger
    report = ChannelReport(
        ledger=ledger,
        durable=True,
        failure=failure.why if failure is not None else None,
        failed_at=failure.at if failure is not None else None,
        memory_only=trouble,
        oldest_waiting=found.oldest_waiting,
        parked=found.parked,
        workspace=workspace if name == "opik" else "",
    )
    losses = f"{rejected_lately} spans were rejected in the last minutes." if rejected_lately else ""
    verdict = judge(report, now=time.time(), losses=losses)
    return _Row(
        service=service,
        backend=name,
        state=verdict.state,
        cause=verdict.cause,
        created=ledger.created,
        delivered=ledger.delivered,
        waiting=ledger.waiting,
        rejected=ledger.rejected,
        dropped=ledger.dropped,
        last_delivery=ledger.last_delivery,
        oldest_waiting=earliest(found.oldest_waiting, *(each.oldest_waiting for each in found.parked)),
        failing_since=failure.since if failure is not None else None,
        workspaces=workspace_statuses(found.parked),
    )


def _rejected_lately(spool: Spool) -> dict[str, int]:
    """Spans rejected so lately that their backend counts as degraded, by backend.

    Only the quarantine knows when. Of dropped spans the spool keeps no moment: they are shown, not judged.
    """
    from otel_llm.control.health import LOSS_SECONDS  # noqa: PLC0415

    since = time.time() - LOSS_SECONDS
    found: dict[str, int] = {}
    for entry in spool.quarantined():
        if entry.quarantined_at >= since:
            found[entry.backend] = found.get(entry.backend, 0) + entry.span_count
    return found


def _store(settings: Config, service: str | None) -> dict[str, Any]:
    """What the local store holds: path, number of calls, when the last one began (Unix seconds), why it is not read."""
    from otel_llm.store.usage import count_calls  # noqa: PLC0415  (loads sqlite3)

    path = settings.store_path
    if not path.exists():
        return {"path": str(path), "calls": 0, "last_call": None, "trouble": None}
    try:
        calls, last = count_calls(path, chosen_service(settings, service))
    except StoreError as error:
        return {"path": str(path), "calls": None, "last_call": None, "trouble": str(error)}
    return {"path": str(path), "calls": calls, "last_call": None if last is None else last / 1e9, "trouble": None}


def _print_json(rows: list[_Row], store: dict[str, Any], *, ok: bool) -> None:
    services: dict[str, dict[str, Any]] = {}
    for row in rows:
        services.setdefault(row.service, {})[row.backend] = row.as_data()
    sys.stdout.write(json.dumps({"ok": ok, "services": services, "store": store}, indent=2) + "\n")


def _print_table(rows: list[_Row], store: dict[str, Any]) -> None:
    if rows:
        numbers = ("created", "delivered", "waiting", "rejected", "dropped")
        columns = [Column("service"), Column("backend"), Column("state"), *(Column(it, numeric=True) for it in numbers)]
        write_table(sys.stdout, columns, [_cells(row) for row in rows])
    if store["trouble"]:
        write_line(sys.stdout, store["trouble"])
    else:
        _print_store(store)
    for row in rows:
        notes = [_times(row), row.cause, _losses("rejected", row.rejected), _losses("dropped", row.dropped)]
        for note in filter(None, notes):
            write_line(sys.stdout, f"{row.service} -> {row.backend}: {' '.join(note.split())}")


def _print_store(store: dict[str, Any]) -> None:
    count = store["calls"]
    last = f", the last one {_moment(store['last_call'])}" if store["last_call"] else ""
    write_line(sys.stdout, f"Local store {store['path']}: {count} call{'' if count == 1 else 's'}{last}.")


def _cells(row: _Row) -> list[str]:
    lost = (sum(row.rejected.values()), sum(row.dropped.values()))
    counts = [f"{count:,}" for count in (row.created, row.delivered, row.waiting, *lost)]
    return [row.service, row.backend, row.state, *counts]


def _times(row: _Row) -> str:
    moments = (("last delivery", row.last_delivery), ("oldest waiting span", row.oldest_waiting))
    listed = ", ".join(f"{name} {_moment(seconds)}" for name, seconds in moments if seconds is not None)
    return f"{listed}." if listed else ""


def _losses(fate: str, counts: dict[str, int]) -> str:
    listed = ", ".join(f"{spans} {fate} ({reason})" for reason, spans in counts.items())
    return f"since the spool began: {listed}." if listed else ""


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(sep=" ", timespec="seconds")
