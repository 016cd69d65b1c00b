"""`otel-llm lint`: do spans say what they say in the words of the GenAI conventions?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otel_llm.cli.arguments import port, seconds
from otel_llm.errors import ConfigError

if TYPE_CHECKING:
    import argparse

    from otel_llm.cli.lint.report import Report

__all__ = ["HELP", "MORE", "configure", "run"]

HELP = "check spans against the GenAI semantic conventions"
MORE = """\
examples:
  otel-llm lint spans.jsonl
  otel-llm lint ~/.local/state/otel-llm/store.db --strict
  otel-llm lint --live --for 60

exit code: 0 no span breaks the conventions; 1 one does (with --strict: or
there is advice); 2 a wrong argument, or nothing that can be checked
"""

_PORT: Final = 4318
"""Where OTLP/HTTP exporters send to unless told otherwise."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        metavar="FILE",
        help="OTLP/JSON (lines, or one document), or a local store; exit code 1 if a span breaks the conventions",
    )
    parser.add_argument("--live", action="store_true", help="receive OTLP/HTTP on loopback and report as spans come")
    parser.add_argument(
        "--port", type=port, default=None, help=f"with --live: the port, 0 for any (default: {_PORT})", metavar="N"
    )
    parser.add_argument(
        "--for",
        dest="seconds",
        type=seconds,
        metavar="SECONDS",
        help="with --live: end after this long (default: at Ctrl-C)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON; with --live one object per line")
    parser.add_argument("--strict", action="store_true", help="advice makes the exit code 1 too")


def run(args: argparse.Namespace) -> int:
    """Report on every span and return 0, or 1 where one breaks the conventions; raises ConfigError for bad input."""
    _require_schemas()
    if args.live == (args.file is not None):
        raise ConfigError("Name a file or say --live, one of the two: `otel-llm lint spans.jsonl`.")
    if not args.live and (args.port is not None or args.seconds is not None):
        raise ConfigError("--port and --for go with --live. Leave them out to check a file.")
    report = _live(args) if args.live else _file(args)
    return int(report.has_violations or (args.strict and report.has_advice))


def _file(args: argparse.Namespace) -> Report:
    from otel_llm.cli.lint.report import Report  # noqa: PLC0415  (loads protobuf, which `--help` does without)
    from otel_llm.conformance import read  # noqa: PLC0415

    report = Report()
    try:
        for span in read(args.file):
            report.add(span)
        if not report.spans:
            raise ConfigError(
                f"{args.file} holds no spans that can be checked: of calls that sampling left out a store has numbers "
                "only. Record some first, or name another file."
            )
    finally:
        if report.spans:
            report.write(sys.stdout, as_json=args.json)
    return report


def _live(args: argparse.Namespace) -> Report:
    from otel_llm.cli.lint.live import listen  # noqa: PLC0415  (loads an HTTP server)

    return listen(_PORT if args.port is None else args.port, args.seconds, as_json=args.json)


def _require_schemas() -> None:
    from importlib.util import find_spec  # noqa: PLC0415

    if find_spec("jsonschema") is None:
        raise ConfigError(
            "`lint` checks messages against JSON schemas, and the package that reads them (jsonschema) is not "
            "installed. Install it with: pip install 'otel-llm[lint]'"
        )
