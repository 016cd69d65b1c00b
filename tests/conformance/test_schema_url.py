"""The schema URL in OTLP output, and what `OTEL_SEMCONV_STABILITY_OPT_IN` changes and does not."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

import otel_llm
from otel_llm import semconv
from otel_llm.testing import FakeProvider

if TYPE_CHECKING:
    from pathlib import Path

_VARIABLE = "OTEL_SEMCONV_STABILITY_OPT_IN"


def recorded(directory: Path) -> list[dict[str, Any]]:
    """The `resourceSpans` of a call, a failed call and embeddings, as the backend `file` writes them."""
    import litellm

    path = directory / "spans.jsonl"
    provider = TracerProvider(shutdown_on_exit=False)
    otel_llm.configure(backend="file", file_path=str(path), tracer_provider=provider, http_spans=False)
    try:
        with FakeProvider() as server:
            to = {"api_base": server.openai_base, "api_key": "k", "max_retries": 0}
            litellm.completion(model="openai/gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], **to)
            litellm.embedding(model="openai/text-embedding-3-small", input=["hi"], **to)
            server.error(400, {"error": {"message": "no"}})
            with pytest.raises(litellm.exceptions.BadRequestError):
                litellm.completion(model="openai/gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], **to)
        assert otel_llm.flush(20)
    finally:
        otel_llm.shutdown()
    groups: list[dict[str, Any]] = []
    for line in path.read_text().splitlines():
        groups.extend(json.loads(line)["resourceSpans"])
    return groups


def scopes(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Spans of ours by scope."""
    found = [scoped for group in groups for scoped in group["scopeSpans"]]
    return [scoped for scoped in found if scoped["scope"]["name"] == "otel_llm"]


def test_spans_name_the_schema_that_they_follow(tmp_path: Path) -> None:
    """Every span of ours is in a scope whose schema URL is the one of the conventions that we write."""
    ours = scopes(recorded(tmp_path))
    assert sum(len(scoped["spans"]) for scoped in ours) == 3
    assert {scoped["schemaUrl"] for scoped in ours} == {semconv.SCHEMA_URL}


def test_a_provider_of_ours_names_the_schema_of_its_resource() -> None:
    """The resource that we make carries the core conventions' URL; a detector's own one stays."""
    from otel_llm.config import load
    from otel_llm.control.home import _made_provider

    made = _made_provider(load({"service_name": "shop"}, environ={}))
    assert made.resource.schema_url == semconv.RESOURCE_SCHEMA_URL
    assert made.resource.attributes[semconv.SERVICE_NAME] == "shop"
    made.shutdown()


@pytest.mark.parametrize("text", ["gen_ai_latest_experimental", "http/dup,gen_ai_latest_experimental", "database"])
def test_the_opt_in_finds_the_newest_names_and_no_older_ones(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the variable or without it, the attributes of our spans are the same, all of today's generation."""
    (tmp_path / "without").mkdir()
    without = _names(scopes(recorded(tmp_path / "without")))
    monkeypatch.setenv(_VARIABLE, text)
    (tmp_path / "with").mkdir()
    assert _names(scopes(recorded(tmp_path / "with"))) == without
    assert not {name for _, names in without for name in names} & set(semconv.OLDER_NAMES)


def _names(ours: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    return [
        (span["name"], sorted(attribute["key"] for attribute in span["attributes"]))
        for scoped in ours
        for span in scoped["spans"]
    ]


def test_a_slip_in_the_opt_in_is_said_at_the_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A word about GenAI that does nothing is named in the log with the right one."""
    monkeypatch.setenv(_VARIABLE, "http,gen_ai_latest")
    with caplog.at_level(logging.WARNING, "otel_llm"):
        otel_llm.configure(backend="none", tracer_provider=TracerProvider(shutdown_on_exit=False))
        otel_llm.shutdown()
    (said,) = [record.getMessage() for record in caplog.records if _VARIABLE in record.getMessage()]
    assert "'gen_ai_latest'" in said
    assert "gen_ai_latest_experimental" in said
