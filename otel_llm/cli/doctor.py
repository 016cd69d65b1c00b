"""`otel-llm doctor`: why spans do not arrive, or proof that they do."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING, Final

from otel_llm.cli.arguments import seconds
from otel_llm.cli.tables import safe_text, write_line
from otel_llm.contracts import CheckStatus

if TYPE_CHECKING:
    import argparse

    from otel_llm.contracts import Finding
    from otel_llm.control.doctor import Diagnosis

__all__ = ["HELP", "MORE", "configure", "run"]

HELP = "check everything between your settings and the backend, and send one span"
MORE = """\
examples:
  otel-llm doctor
  OPIK_URL_OVERRIDE=http://localhost:5173/api otel-llm doctor --backend opik
  otel-llm doctor --json --timeout 30

exit code: 0 no check failed; 1 one did; 2 a wrong argument or setting
"""

_MARKS: Final = {
    CheckStatus.OK: "ok     ",
    CheckStatus.WARNING: "warning",
    CheckStatus.FAILED: "FAILED ",
    CheckStatus.SKIPPED: "skipped",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--backend", metavar="NAME", help="examine this backend instead of the configured ones")
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="be done after this long, whatever the network does (default: 16)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON: healthy, seconds and the findings")


def run(args: argparse.Namespace) -> int:
    """Examine and print; returns 0 if nothing failed, else 1."""
    from otel_llm.control.doctor import diagnose  # noqa: PLC0415  (loads the pipeline)

    logging.getLogger("otel_llm").addHandler(logging.NullHandler())  # the findings say it, in their own order
    diagnosis = diagnose(args.backend, **({} if args.timeout is None else {"seconds": max(args.timeout, 1.0)}))
    if args.json:
        print(json.dumps(diagnosis.as_dict(), indent=2))
    else:
        _print(diagnosis)
    sys.stdout.flush()
    return 0 if diagnosis.healthy else 1


def _print(diagnosis: Diagnosis) -> None:
    for finding in diagnosis.findings:
        _print_finding(finding)
    failures = sum(finding.status is CheckStatus.FAILED for finding in diagnosis.findings)
    verdict = "Spans arrive." if not failures else f"{failures} of {len(diagnosis.findings)} checks failed."
    write_line(sys.stdout, f"\n{verdict} ({diagnosis.seconds:.1f} s)")


def _print_finding(finding: Finding) -> None:
    write_line(sys.stdout, f"{_MARKS[finding.status]}  {finding.check}: {safe_text(finding.evidence)}")
    if finding.remedy and finding.status is not CheckStatus.OK:
        write_line(sys.stdout, f"         -> {safe_text(finding.remedy)}")
