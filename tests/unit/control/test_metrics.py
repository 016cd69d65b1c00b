"""`/metrics` as Prometheus' own client reads it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from otel_llm.control.exposition import Family, render
from otel_llm.control.health import BackendStatus
from otel_llm.control.metrics import metrics_page
from otel_llm.control.running import Status
from otel_llm.control.workspaces import WorkspaceStatus
from otel_llm.processors.tally import FIRST_CHUNK_BOUNDS, TallyReport, Usage

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

BACKEND = BackendStatus(
    name="opik",
    state="degraded",
    cause="3 spans were dropped.",
    since=1.0,
    created=20,
    delivered=10,
    waiting=5,
    rejected={"too_large": 2},
    dropped={"queue_full": 3},
    last_delivery=1_700_000_000.25,
    oldest_waiting=None,
    durable=True,
    queued=4,
    queue_capacity=8192,
    spool_bytes=4096,
    spool_capacity=1 << 28,
    processed={"": 13, "queue_full": 3, "shutdown": 2},
    spool_files_set_aside=1,
)


def test_what_waits_for_a_closed_workspace_is_a_series_of_its_own() -> None:
    """By workspace: what waits, and whether it is closed or only catching up."""
    both = (WorkspaceStatus("globex", 7, 1.0, "The key may not.", 1.0), WorkspaceStatus("initech", 2, 1.0, None, None))
    status = Status(running=True, backends=(BACKEND._replace(workspaces=both),))
    page = parsed(metrics_page(status, None, "1.2.3"))
    assert value(page, "otel_llm_workspace_closed", backend="opik", workspace="globex") == 1
    assert value(page, "otel_llm_workspace_closed", backend="opik", workspace="initech") == 0
    assert value(page, "otel_llm_workspace_span_inflight", backend="opik", workspace="globex") == 7
    assert "otel_llm_workspace" not in metrics_page(Status(running=True, backends=(BACKEND,)), None, "1.2.3")


def parsed(text: str) -> dict[str, Metric]:
    """Families by name, as the client library understands the page."""
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(families: dict[str, Metric], sample: str, **labels: str) -> float:
    """The one sample of this name with these labels among its own."""
    found = [
        it.value
        for family in families.values()
        for it in family.samples
        if it.name == sample and labels.items() <= it.labels.items()
    ]
    assert len(found) == 1, (sample, labels, found)
    return found[0]


def test_the_counts_of_a_backend_add_up_on_the_page() -> None:
    """The sum holds: created = exported (taken and rejected) + inflight + dropped, from the page alone."""
    page = parsed(metrics_page(Status(running=True, backends=(BACKEND,)), None, "1.2.3"))
    exported = sum(sample.value for sample in page["otel_sdk_exporter_span_exported"].samples)
    dropped = sum(sample.value for sample in page["otel_llm_span_dropped"].samples)
    inflight = value(page, "otel_sdk_exporter_span_inflight", backend="opik")
    assert value(page, "otel_llm_span_created_total", backend="opik") == exported + inflight + dropped == 20
    assert value(page, "otel_sdk_exporter_span_exported_total", error_type="too_large") == 2
    assert value(page, "otel_llm_span_dropped_total", reason="queue_full") == 3
    assert value(page, "otel_llm_span_dropped_total", reason="spool_full") == 0
    assert value(page, "otel_sdk_processor_span_queue_size") == 4
    assert value(page, "otel_sdk_processor_span_queue_capacity") == 8192
    processed = {
        sample.labels.get("error_type", ""): sample.value
        for sample in page["otel_sdk_processor_span_processed"].samples
    }
    assert processed == {"": 13, "queue_full": 3, "already_shutdown": 2}
    assert value(page, "otel_llm_backend_state", state="degraded") == 1
    assert value(page, "otel_llm_backend_state", state="ok") == 0
    assert value(page, "otel_llm_last_delivery_timestamp_seconds") == 1_700_000_000.25
    assert "otel_llm_oldest_waiting_timestamp_seconds" not in page
    assert value(page, "otel_llm_build_info", version="1.2.3") == 1


def test_the_spool_is_shown_once_for_all_its_backends() -> None:
    """Two backends share one spool: its size and its cap have one sample each, and none where there is no spool."""
    other = BACKEND._replace(name="otlp")
    local = BACKEND._replace(name="local", spool_bytes=None, spool_capacity=None)
    page = parsed(metrics_page(Status(running=True, backends=(local, BACKEND, other)), None, "1"))
    assert value(page, "otel_llm_spool_bytes") == 4096
    assert value(page, "otel_llm_spool_capacity_bytes") == 1 << 28
    assert value(page, "otel_llm_spool_files_set_aside") == 1
    assert "otel_llm_spool_bytes" not in parsed(metrics_page(Status(running=True, backends=(local,)), None, "1"))


def test_usage_is_shown_by_tenant_and_model() -> None:
    """Calls, errors, tokens, money and the histogram carry the labels of their pair."""
    chunks = [0] * (len(FIRST_CHUNK_BOUNDS) + 1)
    chunks[0], chunks[-1] = 3, 1
    usage = Usage(4, 1, 2, 100, 50, 0.125, 0.5, 1, 99.5, chunks)
    report = TallyReport({("acme", "gpt"): usage}, {"RateLimitError": 1})
    page = parsed(metrics_page(Status(running=True), report, "1"))
    assert value(page, "otel_llm_calls_total", tenant="acme", model="gpt") == 4
    assert value(page, "otel_llm_tokens_total", tenant="acme", direction="output") == 50
    assert value(page, "otel_llm_cost_usd_total", tenant="acme") == 0.125
    assert value(page, "otel_llm_call_errors_by_type_total", error_type="RateLimitError") == 1
    assert value(page, "otel_llm_time_to_first_chunk_seconds_bucket", le="0.05") == 3
    assert value(page, "otel_llm_time_to_first_chunk_seconds_bucket", le="+Inf") == 4
    assert value(page, "otel_llm_time_to_first_chunk_seconds_count") == 4
    assert value(page, "otel_llm_time_to_first_chunk_seconds_sum") == 99.5


def test_every_family_says_what_it_is() -> None:
    """HELP and TYPE stand before the samples of every family, and counters end in `_total`."""
    text = metrics_page(Status(running=True, backends=(BACKEND,)), TallyReport({("a", "m"): Usage()}, {}), "1")
    for name, family in parsed(text).items():
        assert family.documentation, name
        assert family.type in {"counter", "gauge", "histogram"}, name
        if family.type == "counter":
            assert f"# TYPE {name}_total counter" in text


@given(st.text(min_size=1))
def test_any_tenant_name_comes_back_as_it_was(tenant: str) -> None:
    """Quotes, backslashes, line ends and any letters in a label survive; half a character is replaced."""
    page = parsed(render([Family("calls_total", "counter", "x").add(1, {"tenant": tenant, "last": "y"})]))
    (sample,) = page["calls"].samples
    assert sample.labels == {"tenant": tenant.encode("utf-8", "replace").decode(), "last": "y"}


@pytest.mark.parametrize("number", [0, 1, 0.1, 1e-9, 1e21, 123456789.125, math.inf])
def test_numbers_keep_every_digit(number: float) -> None:
    """A value reads back as the very same number."""
    (sample,) = parsed(render([Family("g", "gauge", "x").add(number)]))["g"].samples
    assert sample.value == number
