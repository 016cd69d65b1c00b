"""`otel-llm lint --live`: receives OTLP and reports each kind of finding when it first comes."""

from __future__ import annotations

import contextlib
import json
import queue
import sys
import time
from typing import TYPE_CHECKING, Final

from otel_llm.cli.lint.receiver import Receiver
from otel_llm.cli.lint.report import Report
from otel_llm.cli.signals import sigterm_like_ctrl_c
from otel_llm.cli.tables import write_line
from otel_llm.conformance import spans_of

if TYPE_CHECKING:
    from otel_llm.cli.lint.report import Group

__all__ = ["listen"]

_LOOK_SECONDS: Final = 0.2


def listen(port: int, seconds: float | None, *, as_json: bool) -> Report:
    """Report what comes in on 127.0.0.1:`port` until `seconds` are over, Ctrl-C or SIGTERM; then the sum.

    Raises `ConfigError` when the port cannot be opened.
    """
    report = Report()
    with Receiver(port) as receiver:
        write_line(
            sys.stderr,
            f"Listening on {receiver.url} for OTLP/HTTP (JSON or protobuf) until "
            f"{'Ctrl-C' if seconds is None else f'{seconds:g} s are over'}. Send spans there with "
            f"OTEL_EXPORTER_OTLP_ENDPOINT={receiver.url} OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
        )
        sys.stderr.flush()
        with contextlib.suppress(KeyboardInterrupt), sigterm_like_ctrl_c():
            _take(receiver, report, None if seconds is None else time.monotonic() + seconds, as_json=as_json)
    _take(receiver, report, 0.0, as_json=as_json)  # what was answered for is reported
    if as_json:
        write_line(sys.stdout, json.dumps({"event": "sum", **report.as_dict()}, ensure_ascii=False))
    else:
        report.write_sum(sys.stdout)
    return report


def _take(receiver: Receiver, report: Report, end: float | None, *, as_json: bool) -> None:
    """Report requests until `end` (monotonic) and as long as there are any waiting."""
    while True:
        left = _LOOK_SECONDS if end is None else max(0.0, min(_LOOK_SECONDS, end - time.monotonic()))
        try:
            request = receiver.requests.get(timeout=left) if left else receiver.requests.get_nowait()
        except queue.Empty:
            if not left:
                return
            continue
        for span in spans_of(request):
            for group in report.add(span):
                _show(group, as_json=as_json)


def _show(group: Group, *, as_json: bool) -> None:
    if as_json:
        found = {**group.as_dict(), "event": "finding"}
        del found["spans"]  # which so far is 1, and would be taken for the number of all
        write_line(sys.stdout, json.dumps(found, ensure_ascii=False))
    else:
        group.write(sys.stdout)
    sys.stdout.flush()
