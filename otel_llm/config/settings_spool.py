"""The part of the table of settings that is about the spool: what is kept on disk, for how long, and how safely."""

from __future__ import annotations

from typing import Final

from otel_llm.config.setting import Kind, Setting

__all__ = ["SPOOL"]

_MIB: Final = 1024 * 1024

SPOOL: Final = (
    Setting(
        "spool.mode",
        Kind.CHOICE,
        "always",
        "Whether spans lie on disk before they are sent: always, only when memory is full or the backend fails, never.",
        choices=("always", "overflow", "off"),
    ),
    Setting(
        "spool.max_bytes",
        Kind.INT,
        256 * _MIB,
        "The most the spool may take on disk; beyond it the oldest spans are dropped and counted.",
        unit="bytes",
        at_least=_MIB,
    ),
    Setting(
        "spool.max_age",
        Kind.FLOAT,
        86_400.0,
        "The longest time a span may wait on disk before it is dropped and counted.",
        unit="s",
        at_least=1,
    ),
    Setting(
        "spool.keep_delivered",
        Kind.FLOAT,
        0.0,
        "How long delivered spans stay in the spool, for `otel-llm replay`; they go first when room is short.",
        unit="s",
        at_least=0,
    ),
    Setting(
        "spool.max_disk_share",
        Kind.FLOAT,
        0.1,
        "The share (0 to 1) of the disk space not used by others that the spool may take.",
        at_least=0.001,
        at_most=1,
    ),
    Setting(
        "spool.fsync",
        Kind.CHOICE,
        "interval",
        "When the disk itself must have what was written (matters for power loss only): at intervals or every batch.",
        choices=("interval", "always"),
    ),
    Setting(
        "spool.flush_interval",
        Kind.INT,
        200,
        "The time between two such moments when `spool.fsync` is `interval`.",
        unit="ms",
        at_least=1,
    ),
)
