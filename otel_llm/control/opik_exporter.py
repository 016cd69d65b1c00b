"""`OpikSpanExporter`: Opik for any OpenTelemetry program, without the rest of this package.

    provider = TracerProvider(id_generator=Uuid7IdGenerator())
    provider.add_span_processor(BatchSpanProcessor(OpikSpanExporter(project="checkout")))

or `OTEL_TRACES_EXPORTER=opik` with `OPIK_*` in the environment. It keeps nothing on disk: what the SDK's queue
and the export timeout cannot hold is lost, and counted. `otel_llm.configure(backend="opik")` has a durable spool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from otel_llm.backends.opik.backend import OpikBackend, OpikOptions
from otel_llm.config import load
from otel_llm.control.redacted_exporter import RedactedExporter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_llm.config import Config

__all__ = ["OpikSpanExporter", "opik_options"]

_DEFAULT_TIMEOUT_SECONDS: Final = 10.0


class OpikSpanExporter(RedactedExporter):
    """Sends finished spans to Opik over its REST API, with keys and whatever else `redact` names taken out.

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
        config = load(given, reads=("opik",))  # else a mistake in the address would mean Opik Cloud
        # what is lost is said, with the reason: one line and not two
        super().__init__(OpikBackend(opik_options(config)), config, timeout=timeout, announce=False)


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
