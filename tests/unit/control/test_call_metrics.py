"""Metrics of real calls: names, units, buckets, labels and numbers, by a meter provider, by OTLP and on `/metrics`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import litellm
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from prometheus_client.parser import text_string_to_metric_families

import otel_llm
from otel_llm import semconv
from otel_llm.control import running
from otel_llm.control.metrics import metrics_page
from otel_llm.testing import FakeProvider, Usage
from tests.fakes.http_server import HttpServer, Reply

if TYPE_CHECKING:
    from collections.abc import Iterator

REGISTRY = Path(__file__).parents[3].parent / "shared/reference/data/semconv/current-2026-11/genai-registry.json"
MESSAGES = [{"role": "user", "content": "hi"}]
OURS = {semconv.METRIC_COST, semconv.METRIC_COST_SAVED, semconv.METRIC_COST_UNKNOWN}


@pytest.fixture
def model() -> Iterator[FakeProvider]:
    """A provider of language models on loopback."""
    with FakeProvider() as serving:
        yield serving
    litellm.in_memory_llm_clients_cache.flush_cache()


class Meters:
    """A meter provider of the program's, and what it has measured."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader], shutdown_on_exit=False)

    @property
    def all(self) -> dict[str, Any]:
        """Metrics of ours by name."""
        data = self._reader.get_metrics_data()
        return {
            metric.name: metric
            for resource in (data.resource_metrics if data is not None else [])
            for scope in resource.scope_metrics
            if scope.scope.name == "otel_llm"
            for metric in scope.metrics
        }

    def points(self, name: str, **labels: Any) -> list[Any]:
        """The data points of a metric with these labels among theirs (a dot is written as two underscores)."""
        wanted = {key.replace("__", "."): value for key, value in labels.items()}
        return [point for point in self.all[name].data.data_points if wanted.items() <= dict(point.attributes).items()]

    def total(self, name: str, **labels: Any) -> float:
        """The sum over these points."""
        return sum(getattr(point, "sum", getattr(point, "value", 0)) for point in self.points(name, **labels))

    def count(self, name: str, **labels: Any) -> int:
        """How many numbers a histogram has."""
        return sum(point.count for point in self.points(name, **labels))


@pytest.fixture
def meters() -> Iterator[Meters]:
    """A program with a meter provider of its own."""
    made = Meters()
    yield made
    made.provider.shutdown()


def ask(model: FakeProvider, name: str = "openai/gpt-4o", **more: Any) -> Any:
    """One chat completion."""
    call = {"messages": MESSAGES, "api_base": model.openai_base, "api_key": "k", "max_retries": 0, **more}
    return litellm.completion(name, **call)


def begin(meters: Meters, tmp_path: Path, **settings: Any) -> None:
    """Configure with spans joined to a provider that samples none of them."""
    otel_llm.configure(
        tracer_provider=TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False),
        meter_provider=meters.provider,
        backend="none",
        state_dir=tmp_path,
        **settings,
    )


def test_a_call_is_measured_in_both_generations_though_its_span_is_not_sampled(
    model: FakeProvider, meters: Meters, tmp_path: Path
) -> None:
    """Duration, tokens by kind, cost: every number once in each generation, with the span's facts as labels."""
    begin(meters, tmp_path)
    model.answer("Paris", usage=Usage(100, 10, cache_read_tokens=40, reasoning_tokens=4))
    with otel_llm.tenant("acme"):
        ask(model)
    labels = {
        "gen_ai__operation__name": "chat",
        "gen_ai__provider__name": "openai",
        "gen_ai__request__model": "gpt-4o",
        "server__address": "127.0.0.1",
        "tenant__id": "acme",
    }
    assert meters.count(semconv.METRIC_INFERENCE_DURATION, **labels) == 1
    assert meters.count(semconv.METRIC_OPERATION_DURATION, **labels) == 1
    unknown = {**labels, "gen_ai__token__modality": "unknown"}
    assert meters.total(semconv.METRIC_USAGE_INPUT, **unknown) == 100
    assert meters.total(semconv.METRIC_USAGE_OUTPUT, **unknown) == 10
    assert meters.total(semconv.METRIC_USAGE_CACHE_READ, **unknown) == 40
    assert meters.total(semconv.METRIC_USAGE_REASONING, **unknown) == 4
    assert meters.total(semconv.METRIC_OPERATION_INPUT, **labels) == 100
    assert meters.total(semconv.METRIC_OPERATION_OUTPUT, **labels) == 10
    assert meters.total(semconv.METRIC_TOKEN_USAGE, gen_ai__token__type="input", **labels) == 100
    assert meters.total(semconv.METRIC_TOKEN_USAGE, gen_ai__token__type="output", **labels) == 10
    assert meters.total(semconv.METRIC_COST, **labels) == pytest.approx(60 * 2.5e-6 + 40 * 1.25e-6 + 10 * 1e-5)


def test_a_failed_call_has_its_duration_with_the_error_and_no_tokens(
    model: FakeProvider, meters: Meters, tmp_path: Path
) -> None:
    """`error.type` stands on durations; the newest conventions count a failed operation's tokens as 0."""
    begin(meters, tmp_path)
    model.error(400)
    with pytest.raises(litellm.BadRequestError):
        ask(model)
    (point,) = meters.points(semconv.METRIC_INFERENCE_DURATION)
    assert "BadRequestError" in str(point.attributes[semconv.ERROR_TYPE])
    assert (meters.count(semconv.METRIC_OPERATION_INPUT), meters.total(semconv.METRIC_OPERATION_INPUT)) == (1, 0)
    assert semconv.METRIC_TOKEN_USAGE not in meters.all
    assert semconv.METRIC_USAGE_INPUT not in meters.all


def test_streams_have_a_time_to_first_chunk_and_others_have_none(
    model: FakeProvider, meters: Meters, tmp_path: Path
) -> None:
    """Once per stream, in both generations, and never more than the call's duration."""
    begin(meters, tmp_path)
    model.stream(["The ", "moon"], usage=Usage(5, 2))
    list(ask(model, stream=True))
    ask(model)
    for name, whole in (
        (semconv.METRIC_INFERENCE_FIRST_CHUNK, semconv.METRIC_INFERENCE_DURATION),
        (semconv.METRIC_OPERATION_FIRST_CHUNK, semconv.METRIC_OPERATION_DURATION),
    ):
        assert meters.count(name) == 1
        assert 0 < meters.total(name) <= meters.total(whole)
        assert meters.count(whole) == 2


def test_retries_are_one_call_and_one_bill(model: FakeProvider, meters: Meters, tmp_path: Path) -> None:
    """Two attempts: one duration, the tokens of the one that answered."""
    begin(meters, tmp_path)
    model.error(500)
    model.answer("Paris", usage=Usage(100, 10))
    ask(model, num_retries=1)
    assert meters.count(semconv.METRIC_INFERENCE_DURATION) == 1
    assert meters.total(semconv.METRIC_USAGE_INPUT) == 100
    assert meters.count(semconv.METRIC_OPERATION_INPUT) == 1
    assert meters.total(semconv.METRIC_TOKEN_USAGE) == 110


def test_estimated_tokens_count_only_where_asked_for(model: FakeProvider, meters: Meters, tmp_path: Path) -> None:
    """A stream without usage: no token metric by default, and its cost is counted."""
    begin(meters, tmp_path)
    model.stream(["The ", "moon", " is far"], fail_after=2)
    with pytest.raises(Exception, match=r".*"):
        list(ask(model, stream=True))
    assert meters.total(semconv.METRIC_COST) > 0
    assert semconv.METRIC_USAGE_OUTPUT not in meters.all
    begin(meters, tmp_path, metrics_estimated_tokens=True)
    model.stream(["The ", "moon", " is far"], fail_after=2)
    with pytest.raises(Exception, match=r".*"):
        list(ask(model, stream=True))
    assert meters.total(semconv.METRIC_USAGE_OUTPUT) > 0


@pytest.mark.parametrize(("generation", "shown"), [("new", {"inference"}), ("old", {"operation", "token"})])
def test_a_setting_chooses_the_generation(
    model: FakeProvider, meters: Meters, tmp_path: Path, generation: str, shown: set[str]
) -> None:
    """Only the names of the chosen generation appear, and the cost, which is ours."""
    begin(meters, tmp_path, metrics_generation=generation)
    ask(model)
    names = set(meters.all)
    assert {name.split(".")[2] for name in names - OURS} == shown
    assert semconv.METRIC_COST in names


def test_embeddings_are_no_inference(model: FakeProvider, meters: Meters, tmp_path: Path) -> None:
    """They have the general duration in every generation, and the older token metric."""
    begin(meters, tmp_path)
    litellm.embedding("openai/text-embedding-3-small", ["a"], api_base=model.openai_base, api_key="k", max_retries=0)
    assert meters.count(semconv.METRIC_OPERATION_DURATION, gen_ai__operation__name="embeddings") == 1
    assert meters.total(semconv.METRIC_TOKEN_USAGE, gen_ai__token__type="input") > 0
    assert semconv.METRIC_INFERENCE_DURATION not in meters.all


def test_labels_are_bounded(model: FakeProvider, meters: Meters, tmp_path: Path) -> None:
    """Beyond the caps tenants and models are `other`, and the sums stay whole."""
    begin(meters, tmp_path, metrics_tenants=2, metrics_models=1)
    for number in range(4):
        with otel_llm.tenant(f"t{number}"):
            ask(model, f"openai/gpt-{number}")
    tenants = {dict(point.attributes)["tenant.id"] for point in meters.points(semconv.METRIC_INFERENCE_DURATION)}
    models = {
        dict(point.attributes)["gen_ai.request.model"] for point in meters.points(semconv.METRIC_INFERENCE_DURATION)
    }
    assert tenants == {"t0", "t1", "other"}
    assert models == {"gpt-0", "other"}
    assert meters.count(semconv.METRIC_INFERENCE_DURATION) == 4


def test_names_units_buckets_and_labels_are_those_of_the_registry(
    model: FakeProvider, meters: Meters, tmp_path: Path
) -> None:
    """Every metric but the three of ours is in the conventions' registry, with its instrument, unit and attributes."""
    if not REGISTRY.is_file():
        pytest.skip("needs ../shared/reference")
    registry = json.loads(REGISTRY.read_text())["metrics"]
    begin(meters, tmp_path)
    model.stream(["The ", "moon"], usage=Usage(100, 10, cache_read_tokens=40, reasoning_tokens=4))
    list(ask(model, stream=True))
    model.error(400)
    with pytest.raises(litellm.BadRequestError):
        ask(model)
    measured = {name: metric for name, metric in meters.all.items() if name not in OURS}
    assert len(measured) >= 10
    for name, metric in measured.items():
        # the older name of the time to first chunk is known to the registry as what the newest one was
        said = registry.get(name) or next(one for one in registry.values() if one.get("was") == name)
        assert metric.unit == said["unit"], name
        allowed = {attribute.rstrip("!?") for attribute in said["attributes"]} | {semconv.TENANT_ID}
        required = {attribute[:-1] for attribute in said["attributes"] if attribute.endswith("!")}
        for point in metric.data.data_points:
            assert required <= set(point.attributes) <= allowed, name
            assert (said["instrument"] == "histogram") == hasattr(point, "explicit_bounds"), name
            if said["instrument"] == "histogram":
                assert list(point.explicit_bounds) == said["buckets"], name


def test_the_page_shows_the_same_numbers(model: FakeProvider, meters: Meters, tmp_path: Path) -> None:
    """`/metrics` has every metric in Prometheus' spelling, with the same sums and counts as the meter provider."""
    begin(meters, tmp_path)
    model.answer("Paris", usage=Usage(100, 10))
    ask(model)
    model.error(400)
    with pytest.raises(litellm.BadRequestError):
        ask(model)
    text = metrics_page(running.status(), running.tally_report(), "1", running.measures_report())
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for name, metric in meters.all.items():
        family = families[name.replace(".", "_") + ("_seconds" if metric.unit == "s" else "")]
        assert family.documentation
        points = metric.data.data_points
        if hasattr(points[0], "explicit_bounds"):
            shown = [sample.value for sample in family.samples if sample.name.endswith("_count")]
            sums = [sample.value for sample in family.samples if sample.name.endswith("_sum")]
            assert sum(shown) == sum(point.count for point in points)
            assert sum(sums) == pytest.approx(sum(point.sum for point in points))
        else:
            assert sum(sample.value for sample in family.samples) == pytest.approx(sum(p.value for p in points))


def test_metrics_go_out_by_otlp_when_asked(model: FakeProvider, tmp_path: Path) -> None:
    """`metrics.export=otlp` sends them to `/v1/metrics` on flush, with the name of the service."""
    with HttpServer() as receiver:
        receiver.always(Reply(200))
        otel_llm.configure(
            tracer_provider=TracerProvider(shutdown_on_exit=False),
            backend="none",
            state_dir=tmp_path,
            metrics_export="otlp",
            otlp_endpoint=receiver.url,
            metrics_interval=3600,
            service_name="shop",
        )
        model.answer("Paris", usage=Usage(100, 10))
        ask(model)
        otel_llm.flush(30)
        (request,) = [one for one in receiver.requests if one.path == "/v1/metrics"][:1]
    sent = ExportMetricsServiceRequest.FromString(request.content)
    (group,) = sent.resource_metrics
    assert {pair.key: pair.value.string_value for pair in group.resource.attributes}["service.name"] == "shop"
    names = {metric.name for scope in group.scope_metrics for metric in scope.metrics}
    assert {semconv.METRIC_INFERENCE_DURATION, semconv.METRIC_TOKEN_USAGE, semconv.METRIC_COST} <= names
