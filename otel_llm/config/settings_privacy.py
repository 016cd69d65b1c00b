"""The rows of the table of settings about what of the content is kept, and what is taken out of it."""

from __future__ import annotations

from typing import Final

from otel_llm.config.setting import Kind, Setting

__all__ = ["CONTENT_MODES", "DETECTORS", "PRIVACY"]

CONTENT_MODES: Final = ("off", "metadata", "on")
"""How much of the content is recorded, from nothing to everything."""
DETECTORS: Final = ("keys", "jwt", "email", "phone", "card", "iban", "ip", "presidio")
"""Every name that `redact` may hold."""

PRIVACY: Final = (
    Setting(
        "content_tenants",
        Kind.MAPPING,
        None,
        "`content` for tenants that want another one, as `tenant=mode`.",
        choices=CONTENT_MODES,
        default_note="none",
    ),
    Setting(
        "content_operations",
        Kind.MAPPING,
        None,
        "`content` for operations (`embeddings`, `execute_tool`) that want another one; of two, the stricter counts.",
        choices=CONTENT_MODES,
        default_note="none",
    ),
    Setting(
        "content_system",
        Kind.CHOICE,
        "on",
        "The most that is recorded of system prompts, where content is recorded at all.",
        choices=CONTENT_MODES,
    ),
    Setting(
        "content_tools",
        Kind.CHOICE,
        "on",
        "The most that is recorded of tool definitions, calls and results, where content is recorded at all.",
        choices=CONTENT_MODES,
    ),
    Setting(
        "content_images",
        Kind.CHOICE,
        "on",
        "The most that is recorded of images, audio and documents, where content is recorded at all.",
        choices=CONTENT_MODES,
    ),
    Setting(
        "redact",
        Kind.LIST,
        ("keys", "jwt"),
        "What is looked for in every text of a span and replaced before the span is kept anywhere; `none` for nothing.",
        choices=DETECTORS,
    ),
    Setting(
        "presidio_model",
        Kind.TEXT,
        None,
        "The installed spaCy model by which Presidio finds names and places, where `redact` names `presidio`.",
        default_note="none: its patterns only",
    ),
    Setting(
        "pseudonym_key",
        Kind.TEXT,
        None,
        "A secret; with it, what is replaced gets a keyed pseudonym (`<email:3f2a...>`), the same for the same value.",
        unit="characters",
        at_least=16,
        default_note="none: `<email>`",
        secret=True,
    ),
)
