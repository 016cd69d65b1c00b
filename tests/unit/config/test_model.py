"""`Config` is frozen, explains itself, and never shows a secret."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from otel_llm.config import SETTINGS, load, mask_url
from otel_llm.errors import ConfigError, UnknownSettingError

SECRETS = {
    "OTEL_LLM_OPIK_API_KEY": "s3cret-key",
    "OTEL_LLM_OTLP_HEADERS": "authorization=Bearer%20s3cret-header",
    "OTEL_LLM_OPIK_URL": "https://user:s3cret-password@opik.example/api?token=s3cret-token",
    "OTEL_LLM_OTLP_ENDPOINT": "https://user:s3cret-password@otlp.example:4318",
}


def test_secrets_are_kept_and_never_shown() -> None:
    """The program can read its keys; repr, explanation and JSON hold none of them, but the rest."""
    config = load(environ=SECRETS)
    assert config.opik.api_key == "s3cret-key"
    assert config.otlp.headers == {"authorization": "Bearer s3cret-header"}
    shown = [repr(config), repr(config.otlp), repr(config.opik), str(config)]
    shown += [json.dumps(item.value) + item.text + item.source for item in config.explain()]
    assert all("s3cret" not in text for text in shown)
    assert "url='https://***@opik.example/api?***'" in repr(config)
    assert "headers={'authorization': '***'}" in repr(config)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_LLM_OPIK_API_KEY", "s3cret\nkey"),
        ("OTEL_LLM_OTLP_HEADERS", "s3cret"),
        ("OTEL_LLM_OPIK_URL", "user:s3cret@host"),
        ("OTEL_LLM_OPIK_URL", "https://user:s3cret@host:port"),
        ("OTEL_LLM_OPIK_URL", "https://user:s3cret@[host"),
        ("OTEL_LLM_OPIK_URL", "https://user:s3c/ret#s3cret@ho st"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://user:s3cret@h\u2100st"),
    ],
)
def test_errors_about_secrets_do_not_hold_them(variable: str, value: str) -> None:
    """A malformed key, header or address is reported without what it holds."""
    with pytest.raises(ConfigError) as caught:
        load({"backend": ["otlp", "opik"]}, environ={variable: value})
    assert "s3cret" not in str(caught.value)
    assert "s3c" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h:1/p", "http://h:1/p"),
        ("http://u:p@h/p", "http://***@h/p"),
        ("http://u:p@x@h", "http://***@h"),
        ("u:p@h", "***@h"),
        ("http://h/p?key=k", "http://h/p?***"),
        ("", ""),
    ],
)
def test_addresses_are_masked(url: str, expected: str) -> None:
    """User, password and query of any text that might be an address are hidden."""
    assert mask_url(url) == expected


def test_the_same_settings_from_another_source_are_the_same() -> None:
    """What was said in the environment and is said again as an argument makes no difference; another value does."""
    said = load(environ={"OTEL_LLM_SERVICE_NAME": "shop", "OTEL_LLM_OTLP_TIMEOUT": "5"})
    again = load({"service_name": "shop", "otlp_timeout": 5.0}, environ={})
    assert said.sources != again.sources
    assert said.has_values_of(again)
    assert not said.has_values_of(load({"service_name": "shop"}, environ={}))


def test_nobody_reads_secrets_out_of_settings_as_if_they_were_data() -> None:
    """Reporters of errors and JSON encoders write out lists and tuples; settings are neither, nor is one of them."""
    config = load({"opik_api_key": "secret-key"}, environ={})
    for group in (config, config.opik):
        with pytest.raises(TypeError):
            iter(group)  # type: ignore[call-overload]
        with pytest.raises(TypeError):
            json.dumps(group)
        assert "secret-key" not in repr(group)


def test_settings_cannot_be_changed() -> None:
    """Neither a setting nor a table of headers, tenants or sources can be assigned to."""
    config = load(environ={"OTEL_LLM_OTLP_HEADERS": "a=b"})
    with pytest.raises(AttributeError):
        config.enabled = False  # type: ignore[misc]
    for table in (config.otlp.headers, config.opik.tenants, config.sources):
        with pytest.raises(TypeError):
            table["a"] = "c"  # type: ignore[index]


def test_the_explanation_holds_every_setting_in_order() -> None:
    """`explain` follows the table, with values that JSON knows and words for people."""
    config = load({"instrument": "none", "opik": {"tenants": {"acme": "p"}}}, environ={})
    items = {item.name: item for item in config.explain()}
    assert list(items) == [setting.name for setting in SETTINGS]
    assert json.loads(json.dumps([item.value for item in items.values()]))
    texts = {name: items[name].text for name in ("enabled", "backend", "instrument", "health_port", "opik.tenants")}
    assert texts == {
        "enabled": "true",
        "backend": "local",
        "instrument": "-",
        "health_port": "-",
        "opik.tenants": "acme=p",
    }


def test_asking_for_an_unknown_setting_names_the_nearest() -> None:
    """`get` and `source` refuse a name that does not exist."""
    config = load(environ={})
    for ask in (config.get, config.source):
        with pytest.raises(UnknownSettingError, match=r"did you mean 'otlp\.endpoint'"):
            ask("otlp.endpont")


def test_names_in_the_table_are_unique_in_every_spelling() -> None:
    """No two settings share a name, a Python word or a variable, and no alias is one of our own names."""
    names = [setting.name for setting in SETTINGS]
    keys = [setting.key for setting in SETTINGS]
    assert len({*names}) == len({*keys}) == len(SETTINGS)
    aliases = {alias.variable for setting in SETTINGS for alias in setting.aliases}
    assert not any(alias.startswith("OTEL_LLM_") for alias in aliases)


def test_importing_the_settings_loads_nothing_heavy() -> None:
    """The table and the loader come without database, HTTP client, TOML or INI parser."""
    code = """
import sys, otel_llm.config
otel_llm.config.load({"state_dir": "/s"}, environ={"HOME": "/nowhere"})
heavy = {"sqlite3", "http.client", "requests", "httpx", "tomllib", "tomli", "configparser", "difflib"}
print(sorted(heavy & set(sys.modules)))
"""
    found = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, cwd="/", timeout=60
    )
    assert found.stdout.strip() == "[]"
