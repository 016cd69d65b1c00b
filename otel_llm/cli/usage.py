"""`otel-llm usage`: tokens, cost, calls, errors, cache hits and latency of what was recorded locally."""

from __future__ import annotations

import argparse
import difflib
import json
import shlex
import sys
import threading
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, cast

from otel_llm.cli.store_argument import add_store_argument, chosen_store
from otel_llm.cli.tables import write_csv, write_line
from otel_llm.cli.usage_text import write_usage_table
from otel_llm.errors import ConfigError
from otel_llm.store.groupings import GROUPINGS
from otel_llm.store.moments import MOMENT_EXAMPLES, parse_moment
from otel_llm.store.money import decimal_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from otel_llm.store.filters import Facts
    from otel_llm.store.queries import UsageReport, UsageRow

__all__ = ["HELP", "MORE", "configure", "run"]

HELP = "show tokens, cost, calls, errors, cache hits and latency from the local store"
MORE = """\
examples:
  otel-llm usage
  otel-llm usage --by day,tenant --since 7d
  otel-llm usage --tenant acme --by session --csv > acme.csv
  otel-llm usage --json | jq .totals.cost_usd

exit code: 0, also where no call fits; 1 there is no store, or it cannot be
read; 2 a wrong argument or setting
"""

_SLOW_SECONDS = 1.0
_FACTS: Final = {
    "tenant": "this tenant",
    "model": "calls that asked for this model or were answered by it",
    "provider": "this provider: openai, anthropic, aws.bedrock ...",
    "operation": "this operation: chat, embeddings ...",
    "user": "this user",
    "session": "this session",
    "service": "this service",
}
"""What one can filter by, under the names that the dashboard has, and who or what it is."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--by",
        type=_groupings,
        default=("tenant", "model"),
        metavar="NAMES",
        help=f"what to group by, with commas: {', '.join(GROUPINGS)} (default: tenant,model)",
    )
    parser.add_argument(
        "--since",
        type=_moment_argument,
        metavar="WHEN",
        help=f"only calls begun at or after this: {MOMENT_EXAMPLES}; without a zone it is UTC",
    )
    parser.add_argument("--until", type=_moment_argument, metavar="WHEN", help="only calls begun before this")
    for name, words in _FACTS.items():
        parser.add_argument(f"--{name}", metavar="NAME", help=f"only {words}")
    add_store_argument(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON: totals and rows, numbers as numbers")
    form.add_argument("--csv", action="store_true", help="print CSV, one line per group, without totals")


def run(args: argparse.Namespace) -> int:
    """Print the usage and return 0; raises StoreError if there is nothing to read, ConfigError for wrong input."""
    if args.since and args.until and args.since >= args.until:
        raise ConfigError(
            f"--since {args.since.isoformat()} is not before --until {args.until.isoformat()}. Swap them."
        )
    report = _ask(args)
    _print(report, args)
    if not report.totals.calls:
        write_line(sys.stderr, "No calls are recorded there" + _chosen_in_words(args) + ".")
    return 0


def _ask(args: argparse.Namespace) -> UsageReport:
    from otel_llm.store.queries import usage  # noqa: PLC0415  (loads sqlite3, which other commands do without)

    store = chosen_store(args)
    facts = cast("Facts", {name: getattr(args, name) for name in _FACTS})
    with _told_if_slow(f"Reading {store} ..."):
        return usage(store, args.by, since=args.since, until=args.until, **facts)


def _print(report: UsageReport, args: argparse.Namespace) -> None:
    if args.json:
        write_line(sys.stdout, to_json(_as_data(report, args)))
    elif args.csv:
        headings = [*report.group_by, *_numbers(report.totals)]
        write_csv(sys.stdout, headings, [_csv_line(row) for row in report.rows])
    else:
        write_usage_table(sys.stdout, report, human=sys.stdout.isatty())


def _chosen_in_words(args: argparse.Namespace) -> str:
    given = {name: getattr(args, name) for name in ("since", "until", *_FACTS)}
    words = [f"--{name} {shlex.quote(str(value))}" for name, value in given.items() if value is not None]
    return " for " + " ".join(words) if words else " yet"


# --- data -----------------------------------------------------------------------------------------------------


def _as_data(report: UsageReport, args: argparse.Namespace) -> dict[str, Any]:
    return {
        "group_by": list(report.group_by),
        "since": args.since.isoformat() if args.since else None,
        "until": args.until.isoformat() if args.until else None,
        "totals": _numbers(report.totals),
        "rows": [{**row.labels, **_numbers(row)} for row in report.rows],
    }


def _numbers(row: UsageRow) -> dict[str, Any]:
    """Every number of `row` under its name, rates between 0 and 1, unknown as None."""
    return {
        "calls": row.calls,
        "errors": row.errors,
        "error_rate": row.error_rate,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cache_read_tokens": row.cache_read_tokens,
        "cache_write_tokens": row.cache_write_tokens,
        "reasoning_tokens": row.reasoning_tokens,
        "cost_usd": row.cost_usd,
        "cost_nano_usd": row.cost_nano_usd,
        "unknown_cost_calls": row.unknown_cost_calls,
        "saved_usd": row.saved_usd,
        "cache_hits": row.cache_hits,
        "cache_hit_rate": row.cache_hit_rate,
        "latency_p50_ms": row.latency_p50_ms,
        "latency_p95_ms": row.latency_p95_ms,
        "ttft_p50_ms": row.ttft_p50_ms,
    }


def _csv_line(row: UsageRow) -> list[object]:
    numbers = _numbers(row).values()
    return [*row.labels.values(), *(decimal_text(n) if isinstance(n, Decimal) else n for n in numbers)]


def to_json(value: Any, indent: str = "") -> str:
    """`value` as indented JSON with every digit of its Decimals, which `json` could only round to doubles."""
    inner = indent + "  "
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, dict) and value:
        items = (f"{inner}{json.dumps(key)}: {to_json(item, inner)}" for key, item in value.items())
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(inner + to_json(item, inner) for item in value) + f"\n{indent}]"
    return json.dumps(value)


# --- arguments ------------------------------------------------------------------------------------------------


def _groupings(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in GROUPINGS:
            near = difflib.get_close_matches(name, GROUPINGS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(GROUPINGS)}"
            raise argparse.ArgumentTypeError(f"cannot group by {name!r}; {hint}")
    return names


def _moment_argument(text: str) -> datetime:
    try:
        return parse_moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


# --- patience -------------------------------------------------------------------------------------------------


@contextmanager
def _told_if_slow(what: str) -> Iterator[None]:
    """Say on the terminal what is being done if it takes over a second, and wipe it out afterwards."""
    if not sys.stderr.isatty():
        yield
        return
    shown = threading.Event()

    def tell() -> None:
        shown.set()
        sys.stderr.write(what)
        sys.stderr.flush()

    timer = threading.Timer(_SLOW_SECONDS, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        if shown.is_set():
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
