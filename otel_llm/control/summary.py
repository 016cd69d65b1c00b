"""What is recorded and what is not, and why; and the one line that every start prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from otel_llm import semconv
from otel_llm.config import NO_BACKEND, ON_THIS_MACHINE, mask_url
from otel_llm.instrumentation.litellm.switch import is_installed, is_recording
from otel_llm.processors.sampling import SamplingRules

if TYPE_CHECKING:
    from otel_llm.config import Config
    from otel_llm.control.pipeline import Pipeline

__all__ = ["Instrumented", "instrumented", "start_line"]


_UNNAMED = "unknown_service"
"""How the names begin that the SDK gives to programs that have none."""


class Instrumented(NamedTuple):
    """One library that can be recorded."""

    library: str
    state: str
    """`on`, `waiting` (will be on as soon as the program imports it), `off` or `missing`."""
    why: str = ""
    by: str = ""
    """The package of somebody else's that records it; empty where we do ourselves."""


def instrumented(pipeline: Pipeline) -> list[Instrumented]:
    """The state of every library that settings can name."""
    return [_litellm(pipeline.config), *_http(pipeline), *_clients(pipeline)]


def start_line(config: Config, pipeline: Pipeline) -> str:
    """One line: version, backends with their targets, what is recorded, content on or off."""
    from otel_llm.control.version import VERSION  # noqa: PLC0415  (read once per start)

    libraries = ", ".join(_shown(entry) for entry in instrumented(pipeline) if entry.state != "off")
    targets = ", ".join(_target(name, config, owned=pipeline.home.owned) for name in config.backend)
    return (
        f"otel_llm {VERSION}: backend {targets}; recording {libraries or 'nothing'}; content {config.content}; "
        f"{_sampled(config)}{_left_out(config, pipeline)}service {_service(config, pipeline)}"
    )


def _service(config: Config, pipeline: Pipeline) -> str:
    """The name that the spans carry: on a provider of somebody else's, that of its resource."""
    if pipeline.home.owned:
        return config.service_name
    found = getattr(getattr(pipeline.provider, "resource", None), "attributes", None)
    name = found.get(semconv.SERVICE_NAME) if isinstance(found, Mapping) else None
    if not isinstance(name, str) or not name:
        return config.service_name
    return f"{name} (set OTEL_SERVICE_NAME)" if name.startswith(_UNNAMED) else name


def _shown(entry: Instrumented) -> str:
    if entry.state not in {"on", "waiting"}:
        return f"{entry.library} ({entry.state}: {entry.why})"
    return f"{entry.library} (by {entry.by})" if entry.by else entry.library


def _sampled(config: Config) -> str:
    """Said only where something is left out: nobody should have to wonder where spans are."""
    rules = SamplingRules.of(config)
    ratio = "" if rules.keeps_everything else f"sampling {config.sampling.ratio:g}"
    tenants = f" and {len(rules.tenants)} tenants' own" if ratio and rules.tenants else ""
    return f"{ratio}{tenants}; " if ratio else ""


def _left_out(config: Config, pipeline: Pipeline) -> str:
    """Said only where other spans are left out: nobody should have to wonder where they are."""
    if config.spans == "all" or (config.spans == "auto" and pipeline.home.owned):
        return ""
    if set(config.backend) == {NO_BACKEND}:  # all goes where the program sends it
        return ""
    because = "" if config.spans == "llm" else " (the tracer provider is not ours)"
    return f"spans of LLM work only{because}; "


def _target(name: str, config: Config, *, owned: bool) -> str:
    places = {
        NO_BACKEND: None if owned else "left to the exporters of the program's tracer provider",
        "local": str(config.store_path),
        "file": str(config.file_path),
        "console": "stderr",
        "otlp": mask_url(config.otlp.endpoint),
        "opik": f"{mask_url(config.opik.url)}, project {config.opik.project or config.service_name}",
        "opik-otlp": mask_url(config.opik.url),
    }
    place = places.get(name)
    has_none = name in {*ON_THIS_MACHINE, NO_BACKEND} or config.spool.mode == "off"
    spooled = "" if has_none else f", spool {config.state_dir}"
    return f"{name} ({place}{spooled})" if place else name


def _litellm(config: Config) -> Instrumented:
    if "litellm" not in config.instrument:
        return Instrumented("litellm", "off", "left out by the setting `instrument`")
    if is_recording():
        return Instrumented("litellm", "on")
    if is_installed():
        return Instrumented("litellm", "waiting", "the program has not imported it yet")
    return Instrumented("litellm", "missing", "not installed")


def _http(pipeline: Pipeline) -> list[Instrumented]:
    found = []
    for client in pipeline.http:
        if client.active:
            found.append(Instrumented(client.name, "on"))
        elif client.recorded_by_program:
            found.append(Instrumented(client.name, "on", "by the program itself"))
        elif not client.present:
            found.append(Instrumented(client.name, "off", "not installed"))
        elif client.missing is not None:
            found.append(Instrumented(client.name, "missing", client.missing))
        else:
            found.append(Instrumented(client.name, "waiting", "the program has not imported it yet"))
    return found


def _clients(pipeline: Pipeline) -> list[Instrumented]:
    found = []
    for client in pipeline.clients:
        if client.active:
            found.append(Instrumented(client.name, "on", by=client.by))
        elif client.problem is not None:
            found.append(Instrumented(client.name, "missing", client.remedy))
        else:
            found.append(Instrumented(client.name, "waiting", "the program has not imported it yet", by=client.by))
    return found
