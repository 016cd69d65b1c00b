"""One table of settings, and the loader that says where each value came from."""

from __future__ import annotations

from otel_llm.config.instrumentations import CLIENT_LIBRARIES, INSTRUMENTATIONS
from otel_llm.config.load import load
from otel_llm.config.masking import mask_url
from otel_llm.config.model import Config, OpikSettings, OtlpSettings, SettingValue, SpoolSettings
from otel_llm.config.settings import BACKENDS, NO_BACKEND, ON_THIS_MACHINE, SETTINGS, Setting

__all__ = [
    "BACKENDS",
    "CLIENT_LIBRARIES",
    "INSTRUMENTATIONS",
    "NO_BACKEND",
    "ON_THIS_MACHINE",
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
