"""Several Collectors on loopback: balancers before samplers of which one is killed, and Kafka between two tiers."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.collector.conftest import ROOT, go_command
from tests.collector.requests import names_in, numbered, request_of
from tests.collector.running import Gateway, Sidecar, wait_for
from tests.fakes.opik import FakeOpik, needs_openapi

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.collector.fault_table import FaultTable

pytestmark = [needs_openapi, pytest.mark.timeout(1800), pytest.mark.slow]

_PROFILES = ROOT / "collector/profiles"
_SPANS_EACH = 5


def _balancer_config(samplers: list[Gateway], into: Path) -> Path:
    """gateway-lb.yaml with the samplers named one by one, for here they have no DNS name."""
    config: dict[str, Any] = yaml.safe_load((_PROFILES / "gateway-lb.yaml").read_text())
    hosts = [f"127.0.0.1:{sampler.grpc_port}" for sampler in samplers]
    config["exporters"]["load_balancing"]["resolver"] = {"static": {"hostnames": hosts}}
    into.write_text(yaml.safe_dump(config))
    return into


def _directory(base: Path, name: str) -> Path:
    (base / name).mkdir()
    return base / name


@pytest.fixture
def samplers(collector: Path, tmp_path: Path, opik: FakeOpik) -> Iterator[list[Gateway]]:
    """Three samplers that decide only when they are told to end, so that a test knows what is in their memory."""
    never = (
        "processors.tail_sampling.decision_wait=1h",
        "processors.tail_sampling.decision_wait_after_root_received=1h",
    )
    config = _PROFILES / "gateway-sampler.yaml"
    three = [
        Gateway(collector, _directory(tmp_path, f"sampler{number}"), opik.url, config=config, settings=never)
        for number in range(3)
    ]
    for each in three:
        each.start()
    yield three
    for each in three:
        each.kill()


@pytest.fixture
def balancers(collector: Path, tmp_path: Path, samplers: list[Gateway]) -> Iterator[list[Gateway]]:
    """Two balancers before them."""
    config = _balancer_config(samplers, tmp_path / "balancer.yaml")
    retries = (
        "exporters.load_balancing.retry_on_failure.initial_interval=100ms",
        "exporters.load_balancing.retry_on_failure.max_interval=500ms",
    )
    two = [
        Gateway(collector, _directory(tmp_path, f"balancer{number}"), "", config=config, settings=retries)
        for number in range(2)
    ]
    for each in two:
        each.start()
    yield two
    for each in two:
        each.kill()


def _send(balancers: list[Gateway], first: int, traces: int) -> None:
    """Send traces of five spans, to the balancers in turn, until each is acknowledged."""
    for number in range(traces):
        request = request_of(first + number * _SPANS_EACH, _SPANS_EACH, tenant__id="acme")
        assert wait_for(lambda sent=request, to=balancers[number % 2]: to.export(sent))  # type: ignore[misc]


def _accepted(gateways: list[Gateway]) -> int:
    return int(sum(each.metric("otelcol_receiver_accepted_spans") for each in gateways))


def test_two_balancers_three_samplers_one_killed(
    balancers: list[Gateway], samplers: list[Gateway], opik: FakeOpik, fault_table: FaultTable
) -> None:
    """A sampler killed by -9 costs the undecided spans in its memory, to the last one counted, and nothing else."""
    _send(balancers, 0, 60)
    assert wait_for(lambda: _accepted(samplers) == 300)
    killed = max(samplers, key=lambda each: each.metric("otelcol_receiver_accepted_spans"))
    in_memory = _accepted([killed])
    assert 0 < in_memory < 300, "the balancers did not divide the traces"
    killed.kill()
    _send(balancers, 300, 60)  # what belongs to the dead one waits in the balancers' queues
    killed.start()
    assert wait_for(lambda: _accepted(samplers) == 600 - in_memory), "the balancers did not deliver what waited"
    for each in samplers:  # asked to end, a sampler decides; what it could not send yet is sent after its next start
        assert each.stop() == 0
        each.start()
    assert wait_for(lambda: len(opik.spans()) >= 600 - in_memory), killed.log.read_text()
    names = names_in(opik)
    assert len(names) == len(set(names)) == 600 - in_memory
    lost = set(numbered(0, 600)) - set(names)
    assert lost <= set(numbered(0, 300)), "lost although it was sent after the kill"
    traces = {int(name.removeprefix("span ")) // _SPANS_EACH for name in lost}
    assert len(lost) == len(traces) * _SPANS_EACH, "a trace was torn: its spans were not in one sampler"
    assert not opik.duplicates()
    fault_table.seen(
        "two balancers, three samplers, one of them killed: lost is what it held undecided", opik, created=600
    )


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """The address of a Kafka broker in memory."""
    go = go_command()
    if go is None:
        pytest.skip("Go is missing, of which the broker is made")
    program = tmp_path / "testbroker"
    subprocess.run([go, "build", "-o", program, "."], cwd=ROOT / "collector/testbroker", check=True)
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate()


def test_kafka_between_tiers_loses_nothing(
    collector: Path, tmp_path: Path, broker: str, opik: FakeOpik, fault_table: FaultTable
) -> None:
    """Producer to broker to consumer to Opik; kill -9 with Opik down costs nothing, and no row is there twice."""
    state = _directory(tmp_path, "state")
    tiers = Sidecar(
        collector, state, opik.url, config=_PROFILES / "kafka.yaml", KAFKA_BROKER=broker,
        settings=["exporters.opik.retry_on_failure.max_interval=200ms"],
    )  # fmt: skip
    tiers.start()
    try:
        for number in range(10):
            assert tiers.post(request_of(number * 10, 10)) == 200
        assert wait_for(lambda: names_in(opik) == numbered(0, 100)), tiers.log.read_text()
        opik.stop()
        for number in range(10, 20):
            assert tiers.post(request_of(number * 10, 10)) == 200
        tiers.kill()
        opik.start()
        tiers.start()
        assert wait_for(lambda: names_in(opik) == numbered(0, 200), 120), tiers.log.read_text()
    finally:
        tiers.kill()
    fault_table.row("Kafka between two tiers, kill -9 with Opik down", opik, created=200)


def test_kafka_between_tiers_killed_again_and_again(
    collector: Path, tmp_path: Path, broker: str, opik: FakeOpik, fault_table: FaultTable
) -> None:
    """Kills -9 between receiver, broker and exporter cost nothing; a consumer with a name goes on at once."""
    state = _directory(tmp_path, "state")
    config = _PROFILES / "kafka.yaml"
    tiers = Sidecar(collector, state, opik.url, config=config, KAFKA_BROKER=broker, KAFKA_INSTANCE_ID="one")
    try:
        for kill in range(8):
            tiers.start()
            for number in range(kill * 5, kill * 5 + 5):
                assert tiers.post(request_of(number * 10, 10, size=2000)) == 200
            tiers.kill()
        tiers.start()
        assert wait_for(lambda: names_in(opik) == numbered(0, 400), 120), tiers.log.read_text()
    finally:
        tiers.kill()
    fault_table.row("Kafka between two tiers, kill -9 eight times while sending", opik, created=400)


def test_kafka_refuses_what_kafka_never_takes(collector: Path, tmp_path: Path, broker: str, opik: FakeOpik) -> None:
    """A request larger than a Kafka message may be is refused to its sender, and not acknowledged and dropped."""
    state = _directory(tmp_path, "state")
    tiers = Sidecar(collector, state, opik.url, config=_PROFILES / "kafka.yaml", KAFKA_BROKER=broker)
    tiers.start()
    try:
        assert tiers.post(request_of(0, 1, size=12_000_000)) == 400
        assert tiers.post(request_of(1, 1, size=8_900_000)) == 200
        assert wait_for(lambda: names_in(opik) == ["span 1"]), tiers.log.read_text()
    finally:
        tiers.kill()
