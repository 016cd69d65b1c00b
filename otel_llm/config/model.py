"""The settings of one program, typed and frozen, each knowing where it came from.

Plain classes: defining this many frozen dataclasses takes a start ten milliseconds, and a named tuple is a tuple to
whoever writes down what he finds (a reporter of errors, a JSON encoder), secrets and all.
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


class _Group:
    """Settings by their names, which are those of the class's annotations; shown without their secrets."""

    prefix = ""
    """What stands before the names of these fields in the table of settings."""

    def __init__(self, **values: Any) -> None:
        if values.keys() != type(self).__annotations__.keys():
            raise TypeError(f"{type(self).__name__} takes exactly {', '.join(type(self).__annotations__)}")
        vars(self).update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Settings cannot be changed ({name}); call configure() with other ones")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Settings cannot be deleted ({name}); call configure() with other ones")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]  # some are tables

    def __repr__(self) -> str:
        shown = (
            f"{name}={_shown(self.prefix + name, value)}" for name, value in vars(self).items() if name != _SOURCES
        )
        return f"{type(self).__name__}({', '.join(shown)})"


class OtlpSettings(_Group):
    """Where and how spans go by OTLP."""

    prefix = "otlp."

    endpoint: str
    protocol: Literal["http/protobuf", "grpc"]
    headers: Mapping[str, str]
    compression: Literal["none", "gzip", "deflate"]
    timeout: float

    @property
    def traces_url(self) -> str:
        """The full address for `http/protobuf`: `/v1/traces` is added where `endpoint` has no path."""
        parts = urlsplit(self.endpoint)
        return self.endpoint if parts.path.strip("/") else parts._replace(path="/v1/traces").geturl()


class OpikSettings(_Group):
    """Which Opik receives spans, and into which project."""

    prefix = "opik."

    url: str
    api_key: str | None
    workspace: str
    project: str | None
    check_tls: bool
    tenants: Mapping[str, str]
    """Tenant -> project, for tenants that have their own."""
    join: Literal["auto", "always", "never"]


class SpoolSettings(_Group):
    """How spans wait on disk."""

    prefix = "spool."

    mode: Literal["always", "overflow", "off"]
    max_bytes: int
    max_age: float
    keep_delivered: float
    max_disk_share: float
    fsync: Literal["interval", "always"]
    flush_interval: int
    """Milliseconds."""


class SamplingSettings(_Group):
    """Which spans are kept."""

    prefix = "sampling."

    ratio: float
    tenants: Mapping[str, str]
    """Tenant -> its ratio, written as a number."""
    errors: bool
    slow: float | None
    """Seconds."""
    expensive: float | None
    """USD."""
    content_ratio: float


class MetricsSettings(_Group):
    """Which metrics there are, and where they go."""

    prefix = "metrics."

    generation: Literal["both", "new", "old"]
    export: Literal["program", "otlp"]
    endpoint: str
    interval: float
    """Seconds."""
    tenants: int
    models: int
    estimated_tokens: bool

    @property
    def metrics_url(self) -> str:
        """The full address for `http/protobuf`: `/v1/metrics` is added where `endpoint` has no path."""
        parts = urlsplit(self.endpoint)
        return self.endpoint if parts.path.strip("/") else parts._replace(path="/v1/metrics").geturl()


class MediaSettings(_Group):
    """Whether and where media of messages are kept as files."""

    prefix = "media."

    keep: bool
    path: Path
    max_bytes: int


class ClientSettings(_Group):
    """What `LLMClient` calls, and what it allows."""

    prefix = "client."

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


class Config(_Group):
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

    @property
    def captures_content(self) -> bool:
        """Whether prompts and answers are read at all, for any tenant or operation, if only for their lengths."""
        return {self.content, *self.content_tenants.values(), *self.content_operations.values()} != {"off"}

    def has_values_of(self, other: Config) -> bool:
        """Whether every setting has the same value as in `other`, wherever the two came from."""
        return {**vars(self), _SOURCES: None} == {**vars(other), _SOURCES: None}

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


def _shown(name: str, value: object) -> str:
    setting = _BY_NAME.get(name)
    return repr(masked(setting, value) if setting else value)
