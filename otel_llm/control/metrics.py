"""What `/metrics` shows: where every span is, the state of each backend, and what the calls used.

Where OpenTelemetry has a name for a fact it is used (`otel.sdk.exporter.span.exported` and its kin, in Prometheus'
spelling); the rest is ours. For every backend

    otel_llm_span_created_total = otel_sdk_exporter_span_exported_total (all `error_type`s)
                                + otel_sdk_exporter_span_inflight + otel_llm_span_dropped_total

Backends behind a spool are counted for all processes that share it, and over restarts; each of those processes shows
the same numbers, so they must not be added up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from otel_llm.control.exposition import Family, render
from otel_llm.control.health import STATES
from otel_llm.processors.tally import FIRST_CHUNK_BOUNDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from otel_llm.control.health import BackendStatus
    from otel_llm.control.running import Status
    from otel_llm.processors.call_metrics import MeasuresReport
    from otel_llm.processors.tally import TallyReport, Usage

__all__ = ["metrics_page"]

_REJECTED_REASONS: Final = ("invalid", "too_large", "too_old", "gave_up")
_PROCESSING_ERRORS: Final = {"shutdown": "already_shutdown"}
"""Our reason -> the word that OpenTelemetry has for it."""
_DROPPED_REASONS: Final = ("queue_full", "spool_full", "memory_full", "expired", "shutdown")
"""Shown as zero before the first loss: Prometheus sees an increase only between two samples of a series."""


def metrics_page(
    status: Status, tally: TallyReport | None, version: str, measures: MeasuresReport | None = None
) -> str:
    """The whole page in the Prometheus text format."""
    families = [*_process(status, version), *_backends(status.backends), *_workspaces(status.backends)]
    if tally is not None:
        families += [*_usage(tally.usage), _errors(tally.errors)]
    return render([*families, *_measures(measures or {})])


def _measures(report: MeasuresReport) -> list[Family]:
    """The conventions' metrics as a Prometheus exporter would spell them."""
    families = []
    for measure, all_series in report.items():
        base = measure.name.replace(".", "_") + ("_seconds" if measure.unit == "s" else "")
        kind: Literal["histogram", "counter"] = "histogram" if measure.bounds else "counter"
        family = Family(base if measure.bounds else f"{base}_total", kind, measure.about)
        for series in all_series:
            labels = {name.replace(".", "_"): str(value) for name, value in series.labels.items()}
            if measure.bounds:
                family.add_histogram(measure.bounds, series.buckets, series.total, labels)
            else:
                family.add(series.total, labels)
        families.append(family)
    return families


def _process(status: Status, version: str) -> list[Family]:
    info = Family("otel_llm_build_info", "gauge", "Always 1; the version of otel_llm.").add(1, {"version": version})
    running = Family("otel_llm_running", "gauge", "1 while calls are recorded in this process.").add(
        int(status.running)
    )
    faults = Family("otel_llm_fault_total", "counter", "Faults of otel_llm itself, kept away from the program.")
    for place, count in status.faults.items():
        faults.add(count, {"place": place})
    filtered = Family("otel_llm_span_filtered_total", "counter", "Spans that no backend was meant to get.")
    for reason, count in {"sampled": 0, **status.dropped_before_queue}.items():
        filtered.add(count, {"reason": reason})
    return [info, running, faults, filtered]


def _backends(backends: Iterable[BackendStatus]) -> list[Family]:
    created = Family("otel_llm_span_created_total", "counter", "Spans that ended and were meant for the backend.")
    exported = Family(
        "otel_sdk_exporter_span_exported_total",
        "counter",
        "Spans that the backend has answered for: without error_type it took them, with one it never will.",
    )
    inflight = Family("otel_sdk_exporter_span_inflight", "gauge", "Spans that wait: in the queue, on disk, being sent.")
    dropped = Family("otel_llm_span_dropped_total", "counter", "Spans that were given up, by reason.")
    queued = Family("otel_sdk_processor_span_queue_size", "gauge", "Spans in memory that wait for their batch.")
    processed = Family(
        "otel_sdk_processor_span_processed_total",
        "counter",
        "Spans that the queue in memory is done with: without error_type handed on, with one turned away.",
    )
    capacity = Family("otel_sdk_processor_span_queue_capacity", "gauge", "Spans that may wait in memory.")
    state = Family("otel_llm_backend_state", "gauge", "1 for the state that the backend is in, 0 for the others.")
    delivery = Family(
        "otel_llm_last_delivery_timestamp_seconds", "gauge", "Unix time of the last delivery that was answered."
    )
    oldest = Family("otel_llm_oldest_waiting_timestamp_seconds", "gauge", "Unix time of the oldest span that waits.")
    spool = Family("otel_llm_spool_bytes", "gauge", "Bytes that the spool uses on disk, for all its backends.")
    aside = Family(
        "otel_llm_spool_files_set_aside", "gauge", "Damaged spool files that were laid aside and still lie there."
    )
    room = Family("otel_llm_spool_capacity_bytes", "gauge", "Bytes that it may use before it drops its oldest spans.")
    for backend in backends:
        if backend.spool_bytes is not None and backend.spool_capacity is not None and not spool.samples:
            spool.add(backend.spool_bytes)
            room.add(backend.spool_capacity)
            aside.add(backend.spool_files_set_aside or 0)
        ours = {"backend": backend.name}
        component = {
            **ours,
            "otel_component_name": backend.name,
            "otel_component_type": f"{backend.name}_span_exporter",
        }
        created.add(backend.created, ours)
        exported.add(backend.delivered, component)
        for reason, spans in {**dict.fromkeys(_REJECTED_REASONS, 0), **backend.rejected}.items():
            exported.add(spans, {**component, "error_type": reason})
        inflight.add(backend.waiting, component)
        for reason, spans in {**dict.fromkeys(_DROPPED_REASONS, 0), **backend.dropped}.items():
            dropped.add(spans, {**ours, "reason": reason})
        queue = {**ours, "otel_component_name": backend.name, "otel_component_type": "batching_span_processor"}
        queued.add(backend.queued, queue)
        capacity.add(backend.queue_capacity, queue)
        for reason, spans in {"": 0, "queue_full": 0, **backend.processed}.items():
            processed.add(spans, {**queue, "error_type": _PROCESSING_ERRORS.get(reason, reason)})
        for name in STATES:
            state.add(int(backend.state == name), {**ours, "state": name})
        _add_moment(delivery, backend.last_delivery, ours)
        _add_moment(oldest, backend.oldest_waiting, ours)
    return [
        *(created, exported, inflight, dropped, queued, capacity, processed, state, delivery, oldest),
        *(spool, room, aside),
    ]


def _workspaces(backends: Iterable[BackendStatus]) -> list[Family]:
    closed = Family("otel_llm_workspace_closed", "gauge", "1 for a workspace that takes nothing now while spans wait.")
    apart = Family("otel_llm_workspace_span_inflight", "gauge", "Spans that wait for a workspace that was closed.")
    for backend in backends:
        for each in backend.workspaces:
            labels = {"backend": backend.name, "workspace": each.workspace}
            closed.add(int(each.cause is not None), labels)
            apart.add(each.waiting, labels)
    return [closed, apart]


def _add_moment(family: Family, moment: float | None, labels: Mapping[str, str]) -> None:
    if moment is not None:
        family.add(moment, labels)


def _usage(usage: Mapping[tuple[str, str], Usage]) -> list[Family]:
    calls = Family("otel_llm_calls_total", "counter", "LLM calls.")
    errors = Family("otel_llm_call_errors_total", "counter", "LLM calls that failed.")
    hits = Family("otel_llm_cache_hits_total", "counter", "LLM calls that the response cache answered.")
    tokens = Family("otel_llm_tokens_total", "counter", "Tokens used, by direction.")
    cost = Family("otel_llm_cost_usd_total", "counter", "Known cost in USD.")
    saved = Family("otel_llm_cost_saved_usd_total", "counter", "USD that cache hits would have cost.")
    unknown = Family("otel_llm_unknown_cost_calls_total", "counter", "Calls whose price is not known.")
    first = Family("otel_llm_time_to_first_chunk_seconds", "histogram", "Time to the first chunk of streams.")
    for (tenant, model), sums in usage.items():
        labels = {"tenant": tenant, "model": model}
        calls.add(sums.calls, labels)
        errors.add(sums.errors, labels)
        hits.add(sums.cache_hits, labels)
        tokens.add(sums.input_tokens, {**labels, "direction": "input"})
        tokens.add(sums.output_tokens, {**labels, "direction": "output"})
        cost.add(sums.cost_usd, labels)
        saved.add(sums.saved_usd, labels)
        unknown.add(sums.unknown_cost_calls, labels)
        if any(sums.first_chunks):
            first.add_histogram(FIRST_CHUNK_BOUNDS, sums.first_chunks, sums.first_chunk_seconds, labels)
    return [calls, errors, hits, tokens, cost, saved, unknown, first]


def _errors(errors: Mapping[str, int]) -> Family:
    family = Family("otel_llm_call_errors_by_type_total", "counter", "LLM calls that failed, by error.type.")
    for error_type, count in errors.items():
        family.add(count, {"error_type": error_type})
    return family
