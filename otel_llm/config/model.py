"""The settings of one program, typed and frozen, each knowing where it came from.

Named tuples, because a frozen dataclass takes a program five times as long to start with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from otel_llm.config.masking import Shown, masked
from otel_llm.config.parse import nearest
from otel_llm.config.settings import SETTINGS, Setting
from otel_llm.errors import UnknownSettingError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "ClientSettings",
    "Config",
    "MediaSettings",
    "MetricsSettings",
    "OpikSettings",
    "OtlpSettings",
    "SamplingSettings",
    "SettingValue",
    "SpoolSettings",
]


class SettingValue(NamedTuple):
    """One setting as `config show` prints it; secrets are masked."""

    name: str
    value: Shown
    source: str

    @property
    def text(self) -> str:
        """The value in words; a dash where there is none."""
        if self.value is None or self.value in ([], {}):
            return "-"
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        if isinstance(self.value, list):
            return ",".join(self.value)
        if isinstance(self.value, dict):
            return ",".join(f"{name}={value}" for name, value in self.value.items())
        return str(self.value)


class OtlpSettings(NamedTuple):
    """Where and how spans go by OTLP."""

    endpoint: str
    protocol: Literal["http/protobuf", "grpc"]
    headers: Mapping[str, str]
    compression: Literal["none", "gzip", "deflate"]
    timeout: float

    def __repr__(self) -> str:
        """The fields without their secrets."""
        return _without_secrets(self, "otlp.")

    @property
    def traces_url(self) -> str:
        """The full address for `http/protobuf`: `/v1/traces` is added where `endpoint` has no path."""
        parts = urlsplit(self.endpoint)
        return self.endpoint if parts.path.strip("/") else parts._replace(path="/v1/traces").geturl()


class OpikSettings(NamedTuple):
    """Which Opik receives spans, and into which project."""

    url: str
    api_key: str | None
    workspace: str
    project: str | None
    check_tls: bool
    tenants: Mapping[str, str]
    """Tenant -> project, for tenants that have their own."""
    join: Literal["auto", "always", "never"]

    def __repr__(self) -> str:
        """The fields without their secrets."""
        return _without_secrets(self, "opik.")


class SpoolSettings(NamedTuple):
    """How spans wait on disk."""

    mode: Literal["always", "overflow", "off"]
    max_bytes: int
    max_age: float
    keep_delivered: float
    max_disk_share: float
    fsync: Literal["interval", "always"]
    flush_interval: int
    """Milliseconds."""

    def __repr__(self) -> str:
        """The fields without their secrets."""
        return _without_secrets(self, "spool.")


class SamplingSettings(NamedTuple):
    """Which spans are kept."""

    ratio: float
    tenants: Mapping[str, str]
    """Tenant -> its ratio, written as a number."""
    errors: bool
    slow: float | None
    """Seconds."""
    expensive: float | None
    """USD."""
    content_ratio: float

    def __repr__(self) -> str:
        """The fields without their secrets."""
        return _without_secrets(self, "sampling.")


class MetricsSettings(NamedTuple):
    """Which metrics there are, and where they go."""

    generation: Literal["both", "new", "old"]
    export: Literal["program", "otlp"]
    endpoint: str
    interval: float
    """Seconds."""
    tenants: int
    models: int
    estimated_tokens: bool

    def __repr__(self) -> str:
        """The fields without their secrets."""
        return _without_secrets(self, "metrics.")

    @property
    def metrics_url(self) -> str:
        """The full address for `http/protobuf`: `/v1/metrics` is added where `endpoint` has no path."""
        parts = urlsplit(self.endpoint)
        return self.endpoint if parts.path.strip("/") else parts._replace(path="/v1/metrics").geturl()


class MediaSettings(NamedTuple):
    """Whether and where media of messages are kept as files."""

    keep: bool
    path: Path
    max_bytes: int

    def __repr__(self) -> str:
        """The fields without their secrets."""
        return _without_secrets(self, "media.")


class ClientSettings(NamedTuple):
    """What `LLMClient` calls, and what it allows."""

    models: Mapping[str, str]
    """Name -> litellm's model."""
    fallbacks: Mapping[str, str]
    """Model -> the models after it, separated by spaces."""
    retries: int
    timeout: float
    """Seconds."""
    cache: Literal["none", "memory", "disk", "redis"]
    cache_ttl: float
    """Seconds."""
    cache_shared: bool
    requests_per_minute: int | None
    tokens_per_minute: int | None
    tenant_requests: Mapping[str, str]
    """`tenant` or `tenant/model` -> a number."""
    tenant_tokens: Mapping[str, str]
    on_limit: Literal["wait", "refuse"]
    max_wait: float
    """Seconds."""
    budget: float | None
    """USD a day."""
    tenant_budgets: Mapping[str, str]
    """Tenant -> USD a day, written as a number."""
    on_budget: Literal["warn", "refuse"]

    def __repr__(self) -> str:
        """The fields without their secrets."""
        return _without_secrets(self, "client.")


class Config(NamedTuple):
    """All settings; units and meanings stand in `settings.py` and docs/settings.md. Made by `load` only."""

    enabled: bool
    backend: tuple[str, ...]
    service_name: str
    environment: str | None
    content: Literal["off", "metadata", "on"]
    instrument: tuple[str, ...]
    http_spans: bool
    spans: Literal["auto", "llm", "all"]
    strict: bool
    tenant_default: str
    tenant_from_baggage: bool
    tenant_baggage_key: str
    tenant_metadata_key: str
    prices_file: Path | None
    prices: Mapping[str, Any]
    model_aliases: Mapping[str, str]
    state_dir: Path
    store_path: Path
    file_path: Path
    health_port: int | None
    batch_queue_size: int
    batch_size: int
    batch_delay: int
    export_timeout: float
    shutdown_timeout: float
    handle_sigterm: bool
    handle_os_exit: bool
    max_span_bytes: int
    max_value_bytes: int
    content_tenants: Mapping[str, str]
    content_operations: Mapping[str, str]
    content_system: Literal["off", "metadata", "on"]
    content_tools: Literal["off", "metadata", "on"]
    content_images: Literal["off", "metadata", "on"]
    redact: tuple[str, ...]
    presidio_model: str | None
    pseudonym_key: str | None
    sampling: SamplingSettings
    metrics: MetricsSettings
    media: MediaSettings
    otlp: OtlpSettings
    opik: OpikSettings
    spool: SpoolSettings
    client: ClientSettings
    sources: Mapping[str, str]
    """Setting name -> where its value came from."""

    def __repr__(self) -> str:
        """The fields without their secrets."""
        return _without_secrets(self, "")

    @property
    def captures_content(self) -> bool:
        """Whether prompts and answers are read at all, for any tenant or operation, if only for their lengths."""
        return {self.content, *self.content_tenants.values(), *self.content_operations.values()} != {"off"}

    def has_values_of(self, other: Config) -> bool:
        """Whether every setting has the same value as in `other`, wherever the two came from."""
        return self._replace(sources=other.sources) == other

    def get(self, name: str) -> Any:
        """The value of the setting with this dotted name; raises `UnknownSettingError` for another."""
        setting = _known(name)
        holder = getattr(self, setting.group) if setting.group else self
        return getattr(holder, setting.name.rpartition(".")[2])

    def source(self, name: str) -> str:
        """Where the value of this setting came from: `argument`, `environment NAME`, `file PATH` or `default`."""
        return self.sources[_known(name).name]

    def explain(self) -> list[SettingValue]:
        """Every setting in the order of the table, masked, with its source."""
        return [SettingValue(one.name, masked(one, self.get(one.name)), self.source(one.name)) for one in SETTINGS]


_SOURCES: Final = "sources"
"""The field of `Config` that is about the others."""
_BY_NAME = {setting.name: setting for setting in SETTINGS}


def _known(name: str) -> Setting:
    setting = _BY_NAME.get(name)
    if setting is None:
        raise UnknownSettingError(f"{name}: there is no such setting{nearest(name, _BY_NAME)}")
    return setting


def _without_secrets(group: NamedTuple, prefix: str) -> str:
    """A group of settings in words; `prefix` stands before the names of its fields in the table of settings."""
    shown = (
        f"{name}={_shown(prefix + name, value)}"
        for name, value in zip(group._fields, group, strict=True)
        if name != _SOURCES
    )
    return f"{type(group).__name__}({', '.join(shown)})"


def _shown(name: str, value: object) -> str:
    setting = _BY_NAME.get(name)
    return repr(masked(setting, value) if setting else value)
