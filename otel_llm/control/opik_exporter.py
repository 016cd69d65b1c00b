"""`OpikSpanExporter`: Opik for any OpenTelemetry program, without the rest of this package.

    provider = TracerProvider(id_generator=Uuid7IdGenerator())
    provider.add_span_processor(BatchSpanProcessor(OpikSpanExporter(project="checkout")))

or `OTEL_TRACES_EXPORTER=opik` with `OPIK_*` in the environment. It keeps nothing on disk: what the SDK's queue
and the export timeout cannot hold is lost, and counted. `otel_llm.configure(backend="opik")` has a durable spool.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_llm.backends.opik.backend import OpikBackend, OpikOptions
from otel_llm.config import load
from otel_llm.contracts import Delivered, Rejected, Retry
from otel_llm.delivery.codec import encode
from otel_llm.ledger import Ledger, LedgerReport

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from otel_llm.config import Config
    from otel_llm.contracts import Batch, Outcome

__all__ = ["OpikSpanExporter", "opik_options"]

_logger = logging.getLogger(__name__)

_DEFAULT_TIMEOUT_SECONDS: Final = 10.0
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 8.0


class OpikSpanExporter(SpanExporter):
    """Sends finished spans to Opik over its REST API.

    What is not given comes from the environment (`OPIK_URL_OVERRIDE`, `OPIK_API_KEY`, `OPIK_WORKSPACE`,
    `OPIK_PROJECT_NAME`, `OPIK_CHECK_TLS_CERTIFICATE`), then from `~/.opik.config`.

    Args:
        url: Address of Opik's API; default Opik Cloud.
        api_key: A self-hosted Opik needs none.
        workspace: Default `default`.
        project: Name, or a template with `{service}`, `{tenant}`, `{environment}`; default the service's name.
        tenants: Tenant (`tenant.id`) -> project, or `project @workspace`.
        check_tls: False accepts any certificate; for test servers only.
        timeout: Seconds that one `export` may take, all retries included.

    Raises:
        ConfigError: The address, the project or a setting of the environment cannot be understood.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        workspace: str | None = None,
        project: str | None = None,
        *,
        tenants: Mapping[str, str] | None = None,
        check_tls: bool | None = None,
        timeout: float = _DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        given = {
            "opik_url": url,
            "opik_api_key": api_key,
            "opik_workspace": workspace,
            "opik_project": project,
            "opik_tenants": tenants,
            "opik_check_tls": check_tls,
        }
        self._backend = OpikBackend(opik_options(load(given)))
        self._timeout = timeout
        self._ledger = Ledger(self._backend.name)
        self._sending = threading.Lock()
        self._stopped = threading.Event()
        _reset_after_fork(self)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Deliver `spans` within the timeout. FAILURE says that some were not; `report` has the counts."""
        if self._stopped.is_set():
            return SpanExportResult.FAILURE
        self._ledger.created(len(spans))
        batches = encode(spans)
        unreadable = len(spans) - sum(batch.span_count for batch in batches)
        if unreadable:
            self._ledger.dropped(unreadable, "unencodable")
        deadline = time.monotonic() + self._timeout
        with self._sending:
            results = [self._deliver(batch, deadline) for batch in batches]
        return SpanExportResult.SUCCESS if all(results) and not unreadable else SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002  (the SDK's signature)
        """True: `export` holds nothing back, so there is nothing to flush."""
        return True

    def shutdown(self) -> None:
        """Stop: pauses between retries end at once, later spans are refused."""
        self._stopped.set()
        with self._sending:
            self._backend.close()

    @property
    def report(self) -> LedgerReport:
        """How many spans were taken, delivered, rejected and dropped."""
        return self._ledger.report()

    def _begin_anew(self) -> None:
        """In a forked child: the lock may have been held by a thread that is not there, the counts are the parent's."""
        self._sending = threading.Lock()
        self._ledger.reset_after_fork()

    def _deliver(self, batch: Batch, deadline: float) -> bool:
        outcome = self._outcome(batch, deadline)
        if isinstance(outcome, Delivered):
            self._ledger.delivered(outcome.accepted)
            for rejection in outcome.rejected:
                self._ledger.rejected(1, rejection.reason)
                _logger.warning("Opik will never take span %s: %s", rejection.span_id, rejection.detail)
            return not outcome.rejected
        if isinstance(outcome, Rejected):
            self._ledger.rejected(batch.span_count, outcome.reason)
            return False
        self._ledger.dropped(batch.span_count, outcome.reason)
        _logger.error("%d spans did not reach Opik and are lost. %s", batch.span_count, outcome.why)
        return False

    def _outcome(self, batch: Batch, deadline: float) -> Outcome:
        """The last outcome of a batch: tried again while that can help and there is time."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            outcome = self._backend.send(batch, timeout=max(deadline - time.monotonic(), 0.0))
            if not isinstance(outcome, Retry) or outcome.needs_action:
                return outcome
            wait = outcome.after if outcome.after is not None else pause * random.uniform(0.5, 1.0)  # noqa: S311
            if time.monotonic() + wait >= deadline or self._stopped.wait(wait):
                return outcome
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


def _reset_after_fork(exporter: OpikSpanExporter) -> None:
    """Let a forked child begin anew, without keeping the exporter alive."""
    alive = weakref.ref(exporter)

    def begin_anew() -> None:
        found = alive()
        if found is not None:
            found._begin_anew()  # noqa: SLF001

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=begin_anew)


def opik_options(config: Config) -> OpikOptions:
    """The backend's options from a loaded configuration."""
    return OpikOptions(
        url=config.opik.url,
        api_key=config.opik.api_key,
        workspace=config.opik.workspace,
        project=config.opik.project,
        service=config.service_name,
        tenants=config.opik.tenants or {},
        check_tls=config.opik.check_tls,
    )
