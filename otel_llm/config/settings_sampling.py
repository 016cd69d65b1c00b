"""The rows of the table of settings about what is kept of spans and beside them, and what is counted over all."""

from __future__ import annotations

from typing import Final

from otel_llm.config.aliases import Alias
from otel_llm.config.setting import Kind, Setting
from otel_llm.config.stability import GEN_AI_LATEST, VARIABLE, newest_only

__all__ = ["MEDIA", "METRICS", "METRIC_GENERATIONS", "SAMPLING"]

METRIC_GENERATIONS: Final = ("both", "new", "old")
"""Every word that `metrics.generation` may be."""

SAMPLING: Final = (
    Setting(
        "sampling.ratio",
        Kind.FLOAT,
        1.0,
        "The share of traces that is kept, 0 to 1, chosen by trace id. What is counted does not change with it.",
        at_least=0,
        at_most=1,
    ),
    Setting(
        "sampling.tenants",
        Kind.MAPPING,
        None,
        "`sampling.ratio` for tenants that want another one, as `tenant=ratio`.",
        at_least=0,
        at_most=1,
        default_note="none",
    ),
    Setting(
        "sampling.errors",
        Kind.BOOL,
        default=True,
        about="Keeps every span that failed, and as far as possible the rest of its trace, whatever the ratio.",
    ),
    Setting(
        "sampling.slow",
        Kind.FLOAT,
        None,
        "Keeps every LLM call that took at least this long, whatever the ratio.",
        unit="s",
        at_least=0,
    ),
    Setting(
        "sampling.expensive",
        Kind.FLOAT,
        None,
        "Keeps every LLM call that cost at least this much, whatever the ratio.",
        unit="USD",
        at_least=0,
    ),
    Setting(
        "sampling.content_ratio",
        Kind.FLOAT,
        1.0,
        "The share of traces whose content is kept, where content is recorded; of all traces, not of the kept ones.",
        at_least=0,
        at_most=1,
    ),
)

METRICS: Final = (
    Setting(
        "metrics.generation",
        Kind.CHOICE,
        "both",
        "Whose names the metrics have: the newest conventions', the older ones' that today's dashboards read, or both.",
        choices=METRIC_GENERATIONS,
        aliases=(Alias(VARIABLE, newest_only, f"`{GEN_AI_LATEST}` in it means `new`, all else says nothing"),),
    ),
    Setting(
        "metrics.export",
        Kind.CHOICE,
        "program",
        "Where metrics go besides `/metrics`: to the program's own meter provider, or by OTLP where it has none.",
        choices=("program", "otlp"),
    ),
    Setting(
        "metrics.endpoint",
        Kind.URL,
        None,
        "The address for metrics by OTLP; a path is used as it is, without one `/v1/metrics` is added.",
        default_note="`otlp.endpoint`, with `/v1/metrics` in place of `/v1/traces`",
        aliases=(Alias("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"),),
    ),
    Setting(
        "metrics.interval",
        Kind.FLOAT,
        60.0,
        "The time between two exports of metrics by OTLP.",
        unit="s",
        at_least=0.1,
    ),
    Setting(
        "metrics.tenants",
        Kind.INT,
        100,
        "Tenants that get a label of their own in metrics; all further ones are counted as `other`.",
        at_least=0,
        at_most=10_000,
    ),
    Setting(
        "metrics.models",
        Kind.INT,
        50,
        "Models that get a label of their own in metrics; all further ones are counted as `other`.",
        at_least=0,
        at_most=10_000,
    ),
    Setting(
        "metrics.estimated_tokens",
        Kind.BOOL,
        default=False,
        about="Counts tokens that no provider reported, but that were estimated, in the token metrics too.",
    ),
)

MEDIA: Final = (
    Setting(
        "media.keep",
        Kind.BOOL,
        default=False,
        about="Keeps images, audio and documents of recorded messages as files named by hash; needs `content=on`.",
    ),
    Setting(
        "media.path",
        Kind.PATH,
        None,
        "The directory of these files.",
        default_note="`media` in `state_dir`",
    ),
    Setting(
        "media.max_bytes",
        Kind.INT,
        1024 * 1024 * 1024,
        "The most these files may take; beyond it those used longest ago are deleted.",
        unit="bytes",
        at_least=1024,
    ),
)
