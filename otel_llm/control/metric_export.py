"""Where metrics of calls go besides `/metrics`: to the program's meter provider, or by OTLP through one of our own."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from opentelemetry import metrics

from otel_llm import semconv
from otel_llm.faults import guarded

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
    from opentelemetry.sdk.metrics.export import MetricExporter

    from otel_llm.config import Config

__all__ = ["MetricExport"]

_logger = logging.getLogger(__name__)


class MetricExport:
    """The meter provider that a pipeline measures with.

    `provider` is the one given, or None for the program's global one. With the setting `metrics.export = otlp`, and
    where the program has none, one is made that exports by OTLP; the program's global one is never set.
    """

    def __init__(self, config: Config, given: MeterProvider | None) -> None:
        self.provider: MeterProvider | None = given
        self._own: SdkMeterProvider | None = None
        self._worker: threading.Thread | None = None
        if config.metrics.export != "otlp":
            return
        if given is not None or _is_set(metrics.get_meter_provider()):
            _logger.info("Metrics go to the program's own meter provider; metrics.export=otlp adds no second export.")
            return
        self._own = self.provider = _made(config)

    def flush(self, timeout: float) -> None:
        """Export what was measured so far, for at most `timeout` seconds."""
        if self._own is not None:
            self._begin(self._own.force_flush, timeout)
            self.wait(timeout)

    def begin_close(self, timeout: float) -> None:
        """Begin to export for the last time, within `timeout` seconds; `wait` waits for it."""
        if self._own is not None:
            self._begin(self._own.shutdown, timeout)
            self._own = None

    def wait(self, timeout: float) -> None:
        """Wait for what was begun, for at most `timeout` seconds."""
        if self._worker is not None:
            self._worker.join(timeout)
            self._worker = None

    def _begin(self, work: Callable[[int], object], timeout: float) -> None:
        """Upstream does not keep its timeouts where a receiver hangs: a thread can be left behind."""
        milliseconds = max(1, int(timeout * 1000))
        worker = threading.Thread(
            target=guarded, args=("exporting metrics", work, milliseconds), name="otel_llm metrics", daemon=True
        )
        try:
            worker.start()
        except RuntimeError:  # the interpreter is ending and starts no more threads
            return
        self._worker = worker


def _is_set(provider: MeterProvider) -> bool:
    return type(provider).__name__ not in {"_ProxyMeterProvider", "NoOpMeterProvider"}


def _made(config: Config) -> SdkMeterProvider:
    from opentelemetry.sdk.metrics import MeterProvider as Made  # noqa: PLC0415  (only who exports pays for it)
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415

    facts = {semconv.SERVICE_NAME: config.service_name}
    if config.environment is not None:
        facts[semconv.DEPLOYMENT_ENVIRONMENT] = config.environment
    reader = PeriodicExportingMetricReader(
        _exporter(config),
        export_interval_millis=config.metrics.interval * 1000,
        export_timeout_millis=config.otlp.timeout * 1000,
    )
    return Made([reader], resource=Resource.create(dict(facts)), shutdown_on_exit=False)


def _exporter(config: Config) -> MetricExporter:
    headers = dict(config.otlp.headers)
    if config.otlp.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (  # noqa: PLC0415  (an extra)
            OTLPMetricExporter as GrpcExporter,
        )

        return GrpcExporter(endpoint=config.metrics.endpoint, headers=headers, timeout=config.otlp.timeout)
    from opentelemetry.exporter.otlp.proto.http import Compression  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415

    return OTLPMetricExporter(
        endpoint=config.metrics.metrics_url,
        headers=headers,
        timeout=config.otlp.timeout,
        compression=Compression(config.otlp.compression),
    )
