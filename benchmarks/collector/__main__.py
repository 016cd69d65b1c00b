"""Spans per second and per core of the real Collector, memory and disk per queued span, and what tiers add.

    collector/build.sh --no-validate && .venv/bin/python -m benchmarks.collector [--spans 20000] [--json FILE]

`--exporters` measures only our exporter beside the stock one for OTLP, which the scene `collector` of `python -m
benchmarks` asks for. OTEL_LLM_COLLECTOR names another binary.

Everything runs on loopback: programs (threads of this process), the Collectors, and an Opik that takes everything and
keeps nothing. All of them share the machine, so spans per second are a lower bound; CPU is the Collectors' own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

import yaml

from tests.collector.requests import request_of
from tests.collector.running import ROOT, Gateway, Sidecar, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_BINARY: Final = Path(os.environ.get("OTEL_LLM_COLLECTOR") or ROOT / "collector/out/otelcol-llm")
_PROFILES: Final = ROOT / "collector/profiles"
_SPANS_EACH: Final = 64
_PROGRAMS: Final = 4
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_DEADLINE: Final = 600.0


class _Sink(BaseHTTPRequestHandler):
    """An Opik, or an OTLP endpoint, that takes everything. It counts spans by their names in what came."""

    protocol_version = "HTTP/1.1"
    seen = 0
    lock = threading.Lock()

    def do_POST(self) -> None:
        """Take rows."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        over_otlp = self.path.endswith("/v1/traces")
        if over_otlp or "/spans/" in self.path:
            with _Sink.lock:
                _Sink.seen += body.count(b"span " if over_otlp else b'"name":"span ')
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Measured:
    """One line of the table."""

    setup: str
    span_bytes: int
    spans: int
    spans_per_second: float
    """Until the last of them had arrived."""
    cpu_us_per_span: float
    """Of all Collectors together."""
    spans_per_core_second: float

    @property
    def shown(self) -> tuple[object, ...]:
        """What the table has of it."""
        return self.setup, self.span_bytes, self.spans_per_second, self.cpu_us_per_span, self.spans_per_core_second


@dataclass(frozen=True)
class Queued:
    """What spans cost while they wait, Opik being down."""

    span_bytes: int
    spans: int
    memory_megabytes: float
    """By how much the process grew, the queue file not counted."""
    disk_bytes_per_span: float

    @property
    def shown(self) -> tuple[object, ...]:
        """What the table has of it."""
        return self.span_bytes, self.spans, self.memory_megabytes, self.disk_bytes_per_span


def _cpu_seconds(processes: Sequence[Sidecar]) -> float:
    total = 0
    for each in processes:
        fields = Path(f"/proc/{each.pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def _anonymous_bytes(process: Sidecar) -> int:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def _requests(spans: int, size: int) -> list[bytes]:
    return [request_of(first, _SPANS_EACH, size=size, tenant__id="acme") for first in range(0, spans, _SPANS_EACH)]


def _send_all(requests: Sequence[bytes], send: Callable[[int, bytes], bool]) -> None:
    """Send as so many programs do, each again what was refused."""

    def until_taken(numbered: tuple[int, bytes]) -> None:
        assert wait_for(lambda: send(*numbered), _DEADLINE)

    with ThreadPoolExecutor(_PROGRAMS) as programs:
        list(programs.map(until_taken, enumerate(requests)))


def _measure(
    setup: str, size: int, spans: int, collectors: Sequence[Sidecar], send: Callable[[int, bytes], bool]
) -> Measured:
    requests = _requests(spans, size)
    spans = len(requests) * _SPANS_EACH
    _Sink.seen = 0
    cpu, began = _cpu_seconds(collectors), monotonic()
    _send_all(requests, send)
    assert wait_for(lambda: _Sink.seen >= spans, _DEADLINE), f"{_Sink.seen} of {spans} spans arrived"
    seconds, used = monotonic() - began, max(_cpu_seconds(collectors) - cpu, 1 / _TICKS)
    return Measured(setup, size, spans, round(spans / seconds), round(used / spans * 1e6, 1), round(spans / used))


@contextlib.contextmanager
def _running(*collectors: Sidecar) -> Iterator[None]:
    try:
        for each in collectors:
            each.start()
        yield
    finally:
        for each in collectors:
            each.kill()


def _one_tier(url: str, base: Path, size: int, spans: int) -> Measured:
    """The sidecar as shipped, but that Opik is sent to uncompressed, so that the sink can count."""
    sidecar = Sidecar(_BINARY, _below(base, f"sidecar{size}"), url, settings=_PLAIN)
    with _running(sidecar):
        return _measure("sidecar", size, spans, [sidecar], lambda _, request: sidecar.post(request) == 200)


def _stock_exporter(url: str, base: Path, size: int, spans: int) -> Measured:
    """The same sidecar, with the stock exporter for OTLP over HTTP in the place of ours: same queue, same batches."""
    config = yaml.safe_load((ROOT / "otel-collector.yaml").read_text())
    ours = config["exporters"].pop("opik")
    shared = {name: ours[name] for name in ("timeout", "retry_on_failure", "sending_queue")}
    config["exporters"]["otlp_http"] = {"endpoint": url, "compression": "none", **shared}
    config["service"]["pipelines"]["traces"]["exporters"] = ["otlp_http"]
    file = base / f"stock{size}.yaml"
    file.write_text(yaml.safe_dump(config))
    sidecar = Sidecar(_BINARY, _below(base, f"stock{size}"), url, config=file)
    with _running(sidecar):
        setup = "sidecar, otlp_http"
        return _measure(setup, size, spans, [sidecar], lambda _, request: sidecar.post(request) == 200)


def _two_tiers(url: str, base: Path, size: int, spans: int, balancers: int, samplers: int) -> Measured:
    """Balancers and samplers as shipped, but that traces are decided after two seconds."""
    soon = (
        "processors.tail_sampling.decision_wait=2s",
        "processors.tail_sampling.decision_wait_after_root_received=1s",
    )
    sampler = _PROFILES / "gateway-sampler.yaml"
    second = [
        Gateway(_BINARY, _below(base, f"sampler{samplers}{number}"), url, config=sampler, settings=(*soon, *_PLAIN))
        for number in range(samplers)
    ]
    config = yaml.safe_load((_PROFILES / "gateway-lb.yaml").read_text())
    hosts = [f"127.0.0.1:{each.grpc_port}" for each in second]
    config["exporters"]["load_balancing"]["resolver"] = {"static": {"hostnames": hosts}}
    file = base / f"balancer{balancers}{samplers}.yaml"
    file.write_text(yaml.safe_dump(config))
    first = [
        Gateway(_BINARY, _below(base, f"balancer{samplers}{number}"), url, config=file) for number in range(balancers)
    ]
    with _running(*second, *first):
        return _measure(
            f"{balancers} balancers, {samplers} samplers", size, spans, [*first, *second],
            lambda number, request: first[number % balancers].export(request),
        )  # fmt: skip


def _queued(base: Path, size: int, spans: int) -> Queued:
    """The sidecar with nobody at Opik's address."""
    sidecar = Sidecar(_BINARY, _below(base, f"queue{size}of{spans}"), "http://127.0.0.1:9/api")
    with _running(sidecar):
        requests = _requests(spans, size)
        _send_all(requests[:1], lambda _, request: sidecar.post(request) == 200)
        before = _anonymous_bytes(sidecar)
        _send_all(requests, lambda _, request: sidecar.post(request) == 200)
        count = len(requests) * _SPANS_EACH
        memory = max(0, _anonymous_bytes(sidecar) - before)
        disk = sum(file.stat().st_blocks * 512 for file in sidecar.queue.iterdir() if file.is_file())
    return Queued(size, count, round(memory / 1e6, 1), round(disk / count))


def _table(header: str, lines: Sequence[Measured | Queued]) -> str:
    """Markdown: the header, then the values of each line."""
    columns = header.split(" | ")
    rows = [columns, ["---"] * len(columns), *([str(value) for value in each.shown] for each in lines)]
    return "\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)


_PLAIN: Final = ("exporters.opik.compression=none",)


def _below(base: Path, name: str) -> Path:
    (base / name).mkdir()
    return base / name


def main() -> None:
    """Measure, and print the tables of docs/scale.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spans", type=int, default=20_000, help="spans of each measurement")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    parser.add_argument(
        "--exporters", action="store_true", help="only the sidecar, with our exporter and the stock one"
    )
    told = parser.parse_args()
    if not _BINARY.is_file():
        sys.exit(f"{_BINARY} is missing: run collector/build.sh --no-validate")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        waiting: list[Queued] = []
        if told.exporters:
            speeds = [one(url, base, 2_000, told.spans) for one in (_one_tier, _stock_exporter)]
        else:
            speeds = [_one_tier(url, base, size, told.spans) for size in (200, 2_000, 20_000)]
            speeds.append(_stock_exporter(url, base, 2_000, told.spans))
            speeds += [_two_tiers(url, base, 2_000, told.spans, *tiers) for tiers in ((1, 1), (2, 3))]
            waits = ((2_000, told.spans // 2), (2_000, told.spans * 2), (20_000, told.spans // 4))
            waiting = [_queued(base, *each) for each in waits]
    sys.stdout.write(_table("setup | content per span | spans/s | CPU us per span | spans per core and second", speeds))
    if waiting:
        sys.stdout.write(_table("content per span | spans that wait | memory grew by, MB | disk per span", waiting))
    if told.json:
        told.json.write_text(json.dumps({"speed": [asdict(x) for x in speeds], "queued": [asdict(x) for x in waiting]}))


if __name__ == "__main__":
    main()
