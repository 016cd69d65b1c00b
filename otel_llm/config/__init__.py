"""One table of settings, and the loader that says where each value came from."""

from __future__ import annotations

from otel_llm.config.load import load
from otel_llm.config.masking import mask_url
from otel_llm.config.model import Config, OpikSettings, OtlpSettings, SettingValue, SpoolSettings
from otel_llm.config.settings import BACKENDS, INSTRUMENTATIONS, NO_BACKEND, SETTINGS, Setting

__all__ = [
    "BACKENDS",
    "INSTRUMENTATIONS",
    "NO_BACKEND",
    "SETTINGS",
    "Config",
    "OpikSettings",
    "OtlpSettings",
    "Setting",
    "SettingValue",
    "SpoolSettings",
    "load",
    "mask_url",
]
