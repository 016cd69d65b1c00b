"""`otel-llm config show`: every setting with its value and where the value came from."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from otel_llm.cli.tables import Column, write_table
from otel_llm.config import CLIENT_LIBRARIES, load

if TYPE_CHECKING:
    import argparse

    from otel_llm.config import Config

__all__ = ["HELP", "MORE", "configure", "run"]

HELP = "show every setting, its value and where it came from"
MORE = """\
examples:
  otel-llm config show
  otel-llm config show --json | jq .backend
  OTEL_LLM_BACKEND=opik otel-llm config show

exit code: 0; 2 a setting is wrong, or an argument
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    show = actions.add_parser(
        "show",
        help=HELP,
        description="Show every setting, its value and where it came from; keys and passwords are masked.",
        epilog=MORE,
        formatter_class=parser.formatter_class,
    )
    show.add_argument("--json", action="store_true", help="print JSON: {name: {value, source}}")


def run(args: argparse.Namespace) -> int:
    """Print the settings; raises `ConfigError` when they are wrong."""
    config = load()
    if args.json:
        print(_as_json(config))
    else:
        columns = [Column("setting"), Column("value"), Column("source")]
        write_table(sys.stdout, columns, [(item.name, item.text, item.source) for item in config.explain()])
        _write_clients(config)
    return 0


def _write_clients(config: Config) -> None:
    """What would record each library of `instrument` that is recorded by an instrumentation of somebody else's."""
    names = [name for name in CLIENT_LIBRARIES if name in config.instrument]
    if not names:
        return
    from otel_llm.instrumentation.clients import would_record  # noqa: PLC0415  (few programs name any)

    rows = []
    for name in names:
        by, problem = would_record(name)
        rows.append((name, by if problem is None else problem))
    print()
    write_table(sys.stdout, [Column("library"), Column("recorded by")], rows)


def _as_json(config: Config) -> str:
    settings = {item.name: {"value": item.value, "source": item.source} for item in config.explain()}
    return json.dumps(settings, indent=2)
