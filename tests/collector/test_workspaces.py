"""The real sidecar with tenants in workspaces of their own, one of which is closed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.collector.requests import names_in, numbered, request_of
from tests.collector.running import ROOT, Sidecar, wait_for
from tests.fakes.opik import FakeOpik, needs_openapi

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.collector.fault_table import FaultTable

pytestmark = [needs_openapi, pytest.mark.timeout(1800)]

_ALERTS = ROOT / "deploy/prometheus/otelcol.rules.yml"
_TENANTS = ("acme", "globex", "initech")
_WORKSPACES = ("home", "globex", "initech")
_SETTINGS = (
    "exporters.opik.tenants.globex=llm @globex",
    "exporters.opik.tenants.initech=llm @initech",
    "exporters.opik.retry_on_failure.initial_interval=20ms",
    "exporters.opik.retry_on_failure.max_interval=100ms",
    "exporters.opik.sending_queue.batch.flush_timeout=20ms",
)


@pytest.fixture
def opik() -> Iterator[FakeOpik]:
    """A fake Opik that knows the key, and of the three workspaces opens two to it."""
    with FakeOpik(api_keys={"key": ["home", "initech"]}) as server:
        yield server


def _sidecar(collector: Path, state: Path, opik: FakeOpik, *settings: str, log: Path | None = None) -> Sidecar:
    return Sidecar(
        collector,
        state,
        opik.url,
        log=log,
        settings=(*_SETTINGS, *settings),
        OPIK_API_KEY="key",
        OPIK_WORKSPACE="home",
        OPIK_PROJECT_NAME="llm",
    )


def _send(sidecar: Sidecar, first: int, rounds: int) -> None:
    """So many requests of five spans of each tenant, by turns; all are acknowledged."""
    for number in range(first, first + rounds * 15, 5):
        assert sidecar.post(request_of(number, 5, tenant__id=_TENANTS[number // 5 % 3])) == 200


def _of(workspace: str, count: int) -> list[str]:
    """The names of a workspace's spans, of so many in all."""
    turn = _WORKSPACES.index(workspace)
    return sorted(f"span {number}" for number in range(count) if number // 5 % 3 == turn)


def _flows(sidecar: Sidecar, opik: FakeOpik, count: int) -> None:
    for workspace in ("home", "initech"):
        assert wait_for(lambda name=workspace: names_in(opik, name) == _of(name, count)), sidecar.log.read_text()  # type: ignore[misc]


def test_a_closed_workspace_holds_up_nobody(
    collector: Path, tmp_path: Path, opik: FakeOpik, fault_table: FaultTable
) -> None:
    """Of three workspaces one is closed: the others get theirs, through kill -9 and SIGTERM; it does when it opens."""
    sidecar = _sidecar(collector, tmp_path, opik)
    sidecar.start()
    try:
        _send(sidecar, 0, 20)
        _flows(sidecar, opik, 300)
        assert wait_for(lambda: sidecar.metric("otelcol_exporter_opik_workspace_closed") == 1)
        sidecar.kill()
        sidecar.start()
        _send(sidecar, 300, 10)
        _flows(sidecar, opik, 450)
        assert sidecar.stop() == 0
        sidecar.start()
        _send(sidecar, 450, 10)
        _flows(sidecar, opik, 600)
        assert names_in(opik, "globex") == []
        assert "takes no spans for this workspace" in sidecar.log.read_text()
        opik.let("key", *_WORKSPACES)
        assert wait_for(lambda: names_in(opik, "globex") == _of("globex", 600)), sidecar.log.read_text()
        assert wait_for(lambda: sidecar.metric("otelcol_exporter_opik_workspace_closed") == 0)
        assert sidecar.metric("otelcol_exporter_opik_rejected_spans") == 0
        assert wait_for(lambda: sidecar.metric("otelcol_exporter_queue_size") == 0), sidecar.log.read_text()
    finally:
        sidecar.kill()
    fault_table.row(
        "one of three tenants' workspaces closed (403), `kill -9`, SIGTERM, open again",
        opik,
        created=600,
        workspaces=_WORKSPACES,
    )


def test_the_full_queue_of_a_closed_workspace_is_counted(
    collector: Path, tmp_path: Path, opik: FakeOpik, fault_table: FaultTable
) -> None:
    """A closed workspace's queue runs full: no program is refused, the others flow, what is lost is counted."""
    small = ("exporters.opik.sending_queue.queue_size=60000", "exporters.opik.sending_queue.batch.min_size=1000")
    sidecar = _sidecar(collector, tmp_path, opik, *small)
    sidecar.start()
    try:
        _send(sidecar, 0, 1)
        assert wait_for(lambda: sidecar.metric("otelcol_exporter_opik_workspace_closed") == 1)
        _flows(sidecar, opik, 15)
        assert set(re.findall(r"otelcol_\w+", _ALERTS.read_text())) <= sidecar.metric_names()
        for number in range(15, 600, 15):
            _send(sidecar, number, 1)
            _flows(sidecar, opik, number + 15)
        lost = sidecar.metric("otelcol_exporter_opik_rejected_spans")
        assert 0 < lost < 200, "the queue never was full"
        opik.let("key", *_WORKSPACES)
        assert wait_for(lambda: len(names_in(opik, "globex")) == 200 - lost), sidecar.log.read_text()
    finally:
        sidecar.kill()
    fault_table.seen("a closed workspace's queue full", opik, created=600, rejected=int(lost), workspaces=_WORKSPACES)


@pytest.mark.slow
def test_a_closed_workspace_leaves_room_on_the_disk(
    collector: Path, tmp_path: Path, small_disk: Path, opik: FakeOpik
) -> None:
    """A closed workspace fills the disk before its queue: no program is refused, others flow, its loss is counted."""
    sidecar = _sidecar(collector, small_disk, opik, log=tmp_path / "log")
    sidecar.start()
    try:
        for number in range(0, 3000, 20):
            closed = request_of(number, 10, size=10_000, tenant__id="globex")
            assert sidecar.post(closed) == 200
            assert sidecar.post(request_of(number + 10, 10, tenant__id="acme")) == 200
        wanted = sorted(f"span {number}" for number in range(3000) if number // 10 % 2)
        assert wait_for(lambda: names_in(opik, "home") == wanted), sidecar.log.read_text()
        lost = sidecar.metric("otelcol_exporter_opik_rejected_spans")
        assert 0 < lost < 1500, "the disk never was full"
        opik.let("key", *_WORKSPACES)
        assert wait_for(lambda: len(names_in(opik, "globex")) == 1500 - lost), sidecar.log.read_text()
    finally:
        sidecar.kill()


def test_what_waits_follows_its_tenant(collector: Path, tmp_path: Path, opik: FakeOpik) -> None:
    """What waited for a workspace that the next configuration does not have arrives where its tenant is now."""
    sidecar = _sidecar(collector, tmp_path, opik)
    sidecar.start()
    try:
        _send(sidecar, 0, 4)
        _flows(sidecar, opik, 60)
        assert sidecar.stop() == 0
        changed = _sidecar(collector, tmp_path, opik, "exporters.opik.tenants.globex=llm")
        changed.start()
        try:
            wanted = sorted(set(numbered(0, 60)) - set(_of("initech", 60)))
            assert wait_for(lambda: names_in(opik, "home") == wanted), changed.log.read_text()
        finally:
            changed.kill()
    finally:
        sidecar.kill()
