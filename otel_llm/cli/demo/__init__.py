"""`otel-llm demo`: a little workload through litellm against a provider on loopback, and what was recorded of it.

It needs no key and no network. It calls, reads back from the local store what was recorded, compares the two,
and fails if they differ.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import secrets
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from otel_llm.cli.tables import write_line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from otel_llm.cli.demo.workload import Played, Scene, Stage
    from otel_llm.control.running import BackendStatus
    from otel_llm.store.queries import CallRow

__all__ = ["HELP", "MORE", "configure", "run"]

HELP = "make some calls through litellm against a provider on loopback, and show what was recorded"
MORE = """\
examples:
  otel-llm demo
  otel-llm demo --backend opik
  otel-llm demo --json | jq .tenants

exit code: 0 what was called is what was recorded; 1 it is not, or litellm is
not installed; 2 a wrong argument or setting
"""

SERVICE = "otel-llm-demo"
_LOCAL = "local"
_FLUSH_SECONDS = 10.0
_NO_LITELLM = (
    "otel-llm demo: litellm is not installed, and the demo makes its calls through it. "
    "Install it with: pip install 'otel-llm[litellm]'"
)
_NEXT = (
    ("otel-llm usage", "tokens, cost, errors and latency of all that is in the store"),
    ("otel-llm usage --by day,tenant --json", "the same for a program"),
    ("otel-llm dashboard", "the same in a browser, with each call and its trace"),
    ("otel-llm run python app.py", "record your own program, unchanged"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--backend",
        metavar="NAMES",
        help="where the spans go, with commas (default: from the configuration); the local store always has them too",
    )
    parser.add_argument("--json", action="store_true", help="print JSON: the recorded calls and the tenants' totals")


def run(args: argparse.Namespace) -> int:
    """Play and print; 0 if what was recorded is what was called, 1 if it is not or there is no litellm."""
    if importlib.util.find_spec("litellm") is None:
        write_line(sys.stderr, _NO_LITELLM)
        return 1
    result = _play_and_read_back(args.backend)
    _print(result, as_json=args.json)
    return 1 if result.differences else 0


@dataclass(frozen=True)
class _Result:
    """What came out of one run of the demo."""

    run_id: str
    store: Path
    played: Sequence[Played]
    rows: Sequence[CallRow]
    """Oldest first, of this run only."""
    notes: Sequence[str]
    differences: Sequence[str]

    @property
    def titles(self) -> dict[str, str]:
        """Session -> what was done in it."""
        return {one.session: one.scene.title for one in self.played}


def _play_and_read_back(backend: str | None) -> _Result:
    # litellm would fetch its price table from the network while it is imported.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    from otel_llm import config  # noqa: PLC0415  (what is only needed here is only loaded here)
    from otel_llm.cli.demo.comparison import differences  # noqa: PLC0415

    settings = {"backend": _with_local(backend), "content": "on", "enabled": True, "service_name": SERVICE}
    store = config.load(settings).store_path
    run_id, started = f"demo-{secrets.token_hex(4)}", datetime.now(timezone.utc)
    played, notes = _play(settings, run_id)
    rows = _recorded(store, run_id, started)
    return _Result(run_id, store, played, rows, notes, differences(played, rows))


def _with_local(backend: str | None) -> list[str]:
    """The backends asked for, or configured, and the local store, from which the demo reads back."""
    from otel_llm import config  # noqa: PLC0415
    from otel_llm.config.settings import NO_BACKEND  # noqa: PLC0415

    names = config.load({"backend": backend} if backend else {}).backend
    return list(dict.fromkeys((*(name for name in names if name != NO_BACKEND), _LOCAL)))


def _play(settings: dict[str, Any], run_id: str) -> tuple[list[Played], list[str]]:
    """Run the workload, recorded; returns what was played, and what must be said about it."""
    import otel_llm  # noqa: PLC0415
    from otel_llm.cli.demo.workload import SCENES, Stage, play, quiet_litellm  # noqa: PLC0415
    from otel_llm.testing import FakeProvider  # noqa: PLC0415

    # Whatever a library prints, standard output belongs to the result.
    with redirect_stdout(sys.stderr), FakeProvider() as provider:
        _progress("importing litellm ...")
        stage, scenes, notes = _what_works(Stage(quiet_litellm(), provider), SCENES)
        otel_llm.configure(**settings)
        _progress("calling ...")
        played = play(stage, scenes, run_id)
        _progress("reading back ...")
        otel_llm.flush(_FLUSH_SECONDS)
        _progress("")
    return played, [*notes, *_other_backends(otel_llm.status().backends)]


def _what_works(stage: Stage, scenes: Sequence[Scene]) -> tuple[Stage, list[Scene], list[str]]:
    """Try, before anything is recorded, what not every installation of litellm can do.

    Returns the stage and the scenes that can be played here, and one sentence for each thing that cannot.
    """
    from otel_llm.cli.demo.workload import tool_options, why_cache_fails  # noqa: PLC0415

    version = importlib.metadata.version("litellm")
    options, why_no_tools = tool_options(stage)
    why_no_cache = why_cache_fails(stage)
    notes = []
    if why_no_tools:
        notes.append(
            f"litellm {version} takes no tools here ({why_no_tools}); the demo turned its MCP gateway off. "
            "In your own programs: pip install mcp"
        )
    if why_no_cache:
        notes.append(
            f"No cached call is shown: litellm {version} cannot answer from its response cache here ({why_no_cache}). "
            "What it needs comes with: pip install 'litellm[proxy]'"
        )
    playable = [scene for scene in scenes if not (why_no_cache and scene.cache_hits)]
    return replace(stage, tool_options=options), playable, notes


def _other_backends(backends: Iterable[BackendStatus]) -> list[str]:
    """One sentence for each backend but the local one: how far it got."""
    return [
        f"Backend {backend.name}: {backend.delivered} of {backend.created} spans delivered, {backend.waiting} waiting"
        f"{'; ' + backend.cause if backend.cause else '.'}"
        for backend in backends
        if backend.name != _LOCAL
    ]


def _recorded(store: Path, run_id: str, started: datetime) -> list[CallRow]:
    from otel_llm.store.queries import calls  # noqa: PLC0415

    found = calls(store, limit=1000, since=started)
    return [row for row in reversed(found) if (row.session or "").startswith(run_id)]


# --- printing ------------------------------------------------------------------------------------------------


def _progress(what: str) -> None:
    """Show on a terminal what is going on, in one line that is wiped out by the next."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{what}")
        sys.stderr.flush()


def _print(result: _Result, *, as_json: bool) -> None:
    from otel_llm.cli.demo.report import as_data, seen, write_calls, write_tenants  # noqa: PLC0415
    from otel_llm.cli.usage import to_json  # noqa: PLC0415

    out = sys.stdout
    if as_json:
        head = {"run": result.run_id, "service": SERVICE, "store": str(result.store)}
        tail = {"notes": list(result.notes), "differences": list(result.differences)}
        write_line(out, to_json({**head, **as_data(result.rows, result.titles), **seen(result.played), **tail}))
        return
    write_calls(out, result.rows, result.titles)
    write_line(out, "")
    write_tenants(out, result.rows)
    write_line(out, "")
    for sentence in (*result.notes, *_verdict(result)):
        write_line(out, sentence)
    write_line(out, f"\nThe spans are in {result.store}. Where to look next:")
    for command, what in _NEXT:
        write_line(out, f"  {command:<40}{what}")


def _verdict(result: _Result) -> list[str]:
    made = sum(one.scene.calls for one in result.played)
    if not result.differences:
        return [f"{made} calls were made and {len(result.rows)} recorded; tenants, tokens and errors agree."]
    head = f"{made} calls were made and {len(result.rows)} recorded. What was recorded is not what was called:"
    return [head, *(f"  {difference}" for difference in result.differences), "See otel-llm doctor for the cause."]
