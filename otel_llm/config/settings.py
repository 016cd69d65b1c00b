"""The one table of settings: name, kind, default, aliases and meaning of each.

A setting `batch_size` is `OTEL_LLM_BATCH_SIZE` in the environment, `batch_size` in a file and in arguments. A dot
in a name is a table in a file and an underscore elsewhere: `otlp.endpoint`, `[otlp] endpoint`,
`OTEL_LLM_OTLP_ENDPOINT`, `configure(otlp_endpoint=...)`. The loader, the reference page and `config show` all read
this table and nothing else.
"""

from __future__ import annotations

from typing import Final

from otel_llm import semconv
from otel_llm.config.aliases import (
    Alias,
    base_endpoint,
    capture_mode,
    disabled,
    opik_when_true,
    resource_attribute,
)
from otel_llm.config.instrumentations import INSTRUMENTATIONS, RECORDED_BY_DEFAULT, SPELLINGS
from otel_llm.config.setting import Kind, Setting
from otel_llm.config.settings_client import CLIENT
from otel_llm.config.settings_privacy import CONTENT_MODES, DETECTORS, PRIVACY
from otel_llm.config.settings_sampling import MEDIA, METRICS, SAMPLING
from otel_llm.config.settings_spool import SPOOL

__all__ = [
    "BACKENDS",
    "CONTENT_MODES",
    "DETECTORS",
    "GROUPS",
    "NO_BACKEND",
    "ON_THIS_MACHINE",
    "OPIK_JOINS",
    "SETTINGS",
    "SPAN_CHOICES",
    "Kind",
    "Setting",
]

NO_BACKEND: Final = "none"
ON_THIS_MACHINE: Final = frozenset({"local", "file", "console"})
"""Backends that are no server: handing spans over is as durable as spooling them."""
BACKENDS: Final = ("local", "console", "file", "otlp", "opik", "opik-otlp", NO_BACKEND)
"""Every name that `backend` may hold."""
SPAN_CHOICES: Final = ("auto", "llm", "all")
"""Every word that `spans` may be."""
OPIK_JOINS: Final = ("auto", "always", "never")
"""Every word that `opik.join` may be."""

_MIB: Final = 1024 * 1024
_SHORTEST: Final = 0.001
_LONGEST_TIMEOUT: Final = 3600

_GENERAL: Final = (
    Setting(
        "enabled",
        Kind.BOOL,
        default=True,
        about="Records calls; false leaves the program exactly as it is.",
        aliases=(Alias("OTEL_SDK_DISABLED", disabled, "true means false; false says nothing"),),
    ),
    Setting(
        "backend",
        Kind.LIST,
        ("local",),
        "Where spans go; several may be named, `none` only alone.",
        choices=BACKENDS,
        aliases=(
            Alias("OPIK_ENABLED", opik_when_true, "true means `opik`, unless a file says more", last_resort=True),
        ),
    ),
    Setting(
        "service_name",
        Kind.TEXT,
        None,
        "The name of this program in every backend.",
        default_note="the script or module that runs",
        aliases=(
            Alias("OTEL_SERVICE_NAME"),
            Alias(
                "OTEL_RESOURCE_ATTRIBUTES", resource_attribute(semconv.SERVICE_NAME), f"its `{semconv.SERVICE_NAME}`"
            ),
        ),
    ),
    Setting(
        "environment",
        Kind.TEXT,
        None,
        f"The deployment (`production`, `staging`), recorded as `{semconv.DEPLOYMENT_ENVIRONMENT}`.",
        aliases=(
            Alias(
                "OTEL_RESOURCE_ATTRIBUTES",
                resource_attribute(semconv.DEPLOYMENT_ENVIRONMENT),
                f"its `{semconv.DEPLOYMENT_ENVIRONMENT}`",
            ),
            Alias("OPIK_ENVIRONMENT"),
        ),
    ),
    Setting(
        "content",
        Kind.CHOICE,
        "off",
        "Records prompts, answers and tool arguments as well; `metadata` records their roles and lengths only.",
        choices=CONTENT_MODES,
        aliases=(
            Alias(
                "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT",
                capture_mode,
                "SPAN_ONLY and SPAN_AND_EVENT mean on, NO_CONTENT and EVENT_ONLY off",
            ),
        ),
    ),
    Setting(
        "instrument",
        Kind.LIST,
        RECORDED_BY_DEFAULT,
        "The libraries that are recorded when the program imports them; `none` for none (see clients.md).",
        choices=INSTRUMENTATIONS,
        spellings=SPELLINGS,
    ),
    Setting(
        "http_spans",
        Kind.BOOL,
        default=True,
        about="Records the HTTP requests under a call; false leaves httpx and aiohttp alone, named or not.",
    ),
    Setting(
        "spans",
        Kind.CHOICE,
        "auto",
        "Which spans backends get: `llm` those of LLM work and their ancestors, `all` every one; `auto` means `llm` on "
        "a tracer provider of the program's or of another tool's, and `all` on one that otel_llm made.",
        choices=SPAN_CHOICES,
    ),
    Setting(
        "strict",
        Kind.BOOL,
        default=False,
        about="Raises when a library that can be imported cannot be instrumented; false warns and goes on.",
    ),
    Setting(
        "tenant_default",
        Kind.TEXT,
        semconv.UNKNOWN_TENANT,
        "The tenant of work for which nobody named one.",
    ),
    Setting(
        "tenant_from_baggage",
        Kind.BOOL,
        default=False,
        about="Takes the tenant from incoming W3C baggage; only for services whose callers are trusted.",
    ),
    Setting(
        "tenant_baggage_key",
        Kind.TEXT,
        semconv.TENANT_ID,
        "The baggage entry that holds the tenant.",
    ),
    Setting(
        "tenant_metadata_key",
        Kind.TEXT,
        "tenant_id",
        "The key of a call's `metadata` that holds the tenant.",
    ),
    Setting(
        "prices_file",
        Kind.PATH,
        None,
        "The TOML or JSON file of prices agreed with providers and tenants, which go before any table's (see cost.md).",
    ),
    Setting(
        "prices",
        Kind.TABLE,
        None,
        "The same prices given here; an entry goes before that of the same name in `prices_file`.",
        default_note="none",
    ),
    Setting(
        "model_aliases",
        Kind.MAPPING,
        None,
        "The priced model behind each deployment name, as `name=model,name=model`, or a table in a file.",
        default_note="none",
    ),
    Setting(
        "state_dir",
        Kind.PATH,
        None,
        "The directory of everything that is kept between runs.",
        default_note="`otel-llm` in the user's state directory (`$XDG_STATE_HOME`, else `~/.local/state`)",
    ),
    Setting(
        "store_path",
        Kind.PATH,
        None,
        "The SQLite file of the `local` backend.",
        default_note="`store.db` in `state_dir`",
    ),
    Setting(
        "file_path",
        Kind.PATH,
        None,
        "The JSON lines file of the `file` backend.",
        default_note="`spans.jsonl` in `state_dir`",
    ),
    Setting(
        "health_port",
        Kind.INT,
        None,
        "The loopback port that answers health checks; 0 takes any free one, unset opens none.",
        at_least=0,
        at_most=65535,
    ),
)

_BATCHING: Final = (
    Setting(
        "batch_queue_size",
        Kind.INT,
        8192,
        "Spans that may wait in memory for their batch, up to 128 MiB; what ends meanwhile waits before it, up to "
        "16,384 spans and 128 MiB, and beyond that is dropped and counted.",
        unit="spans",
        at_least=1,
    ),
    Setting(
        "batch_size",
        Kind.INT,
        64,
        "Spans in one batch at most.",
        unit="spans",
        at_least=1,
        default_note="`64`, or `batch_queue_size` if that is less",
    ),
    Setting("batch_delay", Kind.INT, 200, "The longest time a span waits for its batch.", unit="ms", at_least=1),
    Setting(
        "export_timeout",
        Kind.FLOAT,
        10.0,
        "The longest time one batch may take to be handed over.",
        unit="s",
        at_least=_SHORTEST,
        at_most=_LONGEST_TIMEOUT,
    ),
    Setting(
        "shutdown_timeout",
        Kind.FLOAT,
        1.5,
        "The longest time the end of the program waits for spans to leave; for a single answer, where they are on "
        "disk, two fifths of it. Storing a burst on this machine's disk may take longer, ten seconds at most.",
        unit="s",
        at_least=0,
        at_most=_LONGEST_TIMEOUT,
    ),
    Setting(
        "handle_sigterm",
        Kind.BOOL,
        default=True,
        about="Hands spans over on SIGTERM, then lets it end the program; never where the program handles it itself.",
    ),
    Setting(
        "handle_os_exit",
        Kind.BOOL,
        default=True,
        about="In forked children, where `os._exit` skips every other end, puts spans into the spool before it.",
    ),
    Setting(
        "max_span_bytes",
        Kind.INT,
        _MIB,
        "The largest a span may be; content is cut until it fits.",
        unit="bytes",
        at_least=1024,
    ),
    Setting(
        "max_value_bytes",
        Kind.INT,
        _MIB // 4,
        "The largest one attribute's value may be.",
        unit="bytes",
        at_least=256,
        default_note="`262144`, or `max_span_bytes` if that is less",
    ),
)

_OTLP: Final = (
    Setting(
        "otlp.endpoint",
        Kind.URL,
        None,
        "The address of the OTLP receiver; a path is used as it is, without one `/v1/traces` is added.",
        default_note="`http://127.0.0.1:4318`, with protocol `grpc` port 4317",
        aliases=(
            Alias("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
            Alias("OTEL_EXPORTER_OTLP_ENDPOINT", base_endpoint, "`/v1/traces` goes after its path"),
        ),
    ),
    Setting(
        "otlp.protocol",
        Kind.CHOICE,
        "http/protobuf",
        "How spans travel; `grpc` needs the extra of that name.",
        choices=("http/protobuf", "grpc"),
        aliases=(Alias("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), Alias("OTEL_EXPORTER_OTLP_PROTOCOL")),
    ),
    Setting(
        "otlp.headers",
        Kind.MAPPING,
        None,
        "Headers of every request, as `name=value,name=value` with percent-encoded values, or a table in a file.",
        default_note="none",
        secret=True,
        aliases=(Alias("OTEL_EXPORTER_OTLP_TRACES_HEADERS"), Alias("OTEL_EXPORTER_OTLP_HEADERS")),
    ),
    Setting(
        "otlp.compression",
        Kind.CHOICE,
        "gzip",
        "How requests are compressed.",
        choices=("none", "gzip", "deflate"),
        aliases=(Alias("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION"), Alias("OTEL_EXPORTER_OTLP_COMPRESSION")),
    ),
    Setting(
        "otlp.timeout",
        Kind.FLOAT,
        10.0,
        "The longest time one request may take.",
        unit="s",
        at_least=_SHORTEST,
        at_most=_LONGEST_TIMEOUT,
        aliases=(
            Alias("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", note="seconds, as the Python SDK reads it"),
            Alias("OTEL_EXPORTER_OTLP_TIMEOUT", note="seconds, as the Python SDK reads it"),
        ),
    ),
)

_OPIK: Final = (
    Setting(
        "opik.url",
        Kind.URL,
        None,
        "The address of Opik's API.",
        default_note="the address inside the API key, else `https://www.comet.com/opik/api/`",
        aliases=(Alias("OPIK_URL_OVERRIDE"),),
    ),
    Setting(
        "opik.api_key",
        Kind.TEXT,
        None,
        "The API key; a self-hosted Opik needs none.",
        secret=True,
        aliases=(Alias("OPIK_API_KEY"),),
    ),
    Setting(
        "opik.workspace",
        Kind.TEXT,
        "default",
        "The workspace that owns the project.",
        aliases=(Alias("OPIK_WORKSPACE"),),
    ),
    Setting(
        "opik.project",
        Kind.TEXT,
        None,
        "The project that receives spans of tenants without one of their own.",
        default_note="the service's name; never Opik's `Default Project`",
        aliases=(Alias("OPIK_PROJECT_NAME"), Alias("OPIK_PROJECT")),
    ),
    Setting(
        "opik.check_tls",
        Kind.BOOL,
        default=True,
        about="Checks the server's certificate; false only for a test server.",
        aliases=(Alias("OPIK_CHECK_TLS_CERTIFICATE"),),
    ),
    Setting(
        "opik.tenants",
        Kind.MAPPING,
        None,
        "The project of each tenant that has its own: a table of tenant and project.",
        default_note="none",
        file_only=True,
    ),
    Setting(
        "opik.join",
        Kind.CHOICE,
        "auto",
        "Makes one trace of what the program records with `opik.track` and what otel_llm records; `auto` does so with "
        "the backend `opik`, and by OTLP in one direction; `always` says that OTLP ends in otel_llm's Collector.",
        choices=OPIK_JOINS,
    ),
)

GROUPS: Final = {
    "General": _GENERAL,
    "Batching and limits": _BATCHING,
    "Privacy": PRIVACY,
    "Sampling": SAMPLING,
    "Metrics": METRICS,
    "Media": MEDIA,
    "OTLP": _OTLP,
    "Opik": _OPIK,
    "Spool": SPOOL,
    "Client": CLIENT,
}
"""Heading on the reference page -> its settings."""

SETTINGS: Final[tuple[Setting, ...]] = tuple(setting for group in GROUPS.values() for setting in group)
