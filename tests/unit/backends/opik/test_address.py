"""Addresses: what people paste becomes the API's base URL, or a sentence."""

from __future__ import annotations

import base64

import pytest

from otel_llm.backends.loopback import is_loopback
from otel_llm.backends.opik.address import CLOUD_URL, base_url_in_key, resolve_address
from otel_llm.errors import ConfigError

_KEY_WITH_URL = "abc*" + base64.b64encode(b'{"baseUrl": "https://opik.example.com/"}').decode().rstrip("=")


@pytest.mark.parametrize(
    ("given", "base", "note"),
    [
        ("http://localhost:5173/api/", "http://localhost:5173/api", ""),
        ("http://localhost:5173", "http://localhost:5173/api", "under /api"),
        ("localhost:5173/api", "http://localhost:5173/api", "no scheme; http"),
        ("opik.example.com/api", "https://opik.example.com/api", "no scheme; https"),
        ("http://opik:8080", "http://opik:8080", ""),
        ("http://host:5173/api/v1/private/otel/v1/traces", "http://host:5173/api", "single endpoint"),
        ("http://host:5173/api/v1/private/otel", "http://host:5173/api", "single endpoint"),
        ("https://opik.example.com/api/v1/traces", "https://opik.example.com/api", "/v1/traces is left off"),
        ("https://www.comet.com/opik/my-team/projects", CLOUD_URL, "page of the web site"),
        ("https://www.comet.com", CLOUD_URL, "page of the web site"),
        ("https://www.comet.com/opik/api/", CLOUD_URL, ""),
        ("http://user:secret@host/api", "http://host/api", "left out"),
        ("http://host:4317", "http://host:4317", "OTLP over gRPC"),
        ("http://[::1]:8080/", "http://[::1]:8080", ""),
        ("  http://host/opik/api?x=1#y ", "http://host/opik/api", ""),
    ],
)
def test_addresses_are_understood(given: str, base: str, note: str) -> None:
    """The base URL is found, and what was changed or looks wrong is said; a password is repeated nowhere."""
    address = resolve_address(given)
    said = " ".join(address.notes)
    assert address.base == base
    assert bool(said) == bool(note)
    assert note in said
    assert "secret" not in said + address.base


@pytest.mark.parametrize("given", ["ftp://host/api", "http://", "http://host:port/api", "http://host:99999"])
def test_what_is_no_address_is_an_error(given: str) -> None:
    """A text that names no HTTP server is a ConfigError that says so."""
    with pytest.raises(ConfigError, match="Opik address"):
        resolve_address(given)


def test_address_inside_the_key_is_used_when_no_other_is_given() -> None:
    """A key that carries a base URL names the server, unless one is configured."""
    assert base_url_in_key(_KEY_WITH_URL) == "https://opik.example.com/"
    assert resolve_address(None, _KEY_WITH_URL).base == "https://opik.example.com/opik/api"
    assert resolve_address("http://localhost:5173/api", _KEY_WITH_URL).base == "http://localhost:5173/api"
    assert resolve_address("  ", None).base == CLOUD_URL


@pytest.mark.parametrize("key", [None, "", "plain", "a*", "a*!!!", "a*" + base64.b64encode(b"[1]").decode(), "a*b*c"])
def test_keys_without_an_address_mean_the_cloud(key: str | None) -> None:
    """An ordinary or damaged key names no server."""
    assert resolve_address(None, key).base == CLOUD_URL


def test_loopback_hosts() -> None:
    """Loopback goes by several names."""
    assert all(is_loopback(host) for host in ("localhost", "127.0.0.1", "127.9.9.9", "::1", "a.localhost"))
    assert not any(is_loopback(host) for host in ("10.0.0.1", "example.com", "", "localhost.example.com"))
