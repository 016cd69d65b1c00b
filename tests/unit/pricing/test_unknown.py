"""Prices that nobody knows, counts that are estimates, and calls that litellm knows more about."""

from __future__ import annotations

import logging
import sqlite3
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import litellm
import pytest

import otel_llm
from otel_llm import semconv
from otel_llm.errors import ConfigError
from otel_llm.instrumentation.litellm.pricing import unknown_prices
from otel_llm.testing import Usage
from tests.unit.instrumentation.recorded import until

if TYPE_CHECKING:
    from pathlib import Path

    from otel_llm.testing import FakeProvider
    from tests.unit.instrumentation.recorded import Spans

MESSAGES = [{"role": "user", "content": "hi"}]


def ask(provider: FakeProvider, model: str, **more: Any) -> Any:
    """One chat completion."""
    return litellm.completion(model, MESSAGES, api_base=provider.openai_base, api_key="sk-test", max_retries=0, **more)


def test_an_unknown_price_is_said_once_and_counted(
    provider: FakeProvider, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    """Three calls of two models without a price: two warnings that say what to do, three calls counted, no cost."""
    with caplog.at_level(logging.WARNING, "otel_llm"):
        for model in ("acme-1", "acme-1", "acme-2"):
            ask(provider, f"openai/{model}")
        assert not any(semconv.COST in (span.attributes or {}) for span in spans.llm)
    said = [record.getMessage() for record in caplog.records if "No price is known" in record.getMessage()]
    assert [("acme-1" in line, "acme-2" in line) for line in said] == [(True, False), (False, True)]
    assert "prices_file" in said[0]
    assert unknown_prices() == {"acme-1": 2, "acme-2": 1}


def test_an_answer_without_usage_is_not_said_to_lack_a_price(
    provider: FakeProvider, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    """gpt-4o has a price; what is missing is the usage, and the warning says that."""
    message = {"role": "assistant", "content": "hi"}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    provider.json({"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [choice]})
    with caplog.at_level(logging.WARNING, "otel_llm"):
        ask(provider, "openai/gpt-4o")
        assert spans.facts[semconv.COST_STATUS] == semconv.COST_UNKNOWN
    (said,) = [record.getMessage() for record in caplog.records if "gpt-4o" in record.getMessage()]
    assert "says nothing of what was used" in said
    assert unknown_prices() == {"gpt-4o": 1}


@pytest.mark.parametrize("routed", [False, True], ids=["plain", "router"])
def test_what_the_program_says_is_free_is_free(
    provider: FakeProvider, spans: Spans, monkeypatch: pytest.MonkeyPatch, *, routed: bool
) -> None:
    """A deployment with prices of 0, told to litellm, costs 0 whatever the table has under the model's name."""
    monkeypatch.setattr(litellm, "model_cost", deepcopy(litellm.model_cost))  # litellm writes them into it
    free = {"input_cost_per_token": 0, "output_cost_per_token": 0.0}
    if routed:
        deployment = {"model": "openai/gpt-4-turbo", "api_base": provider.openai_base, "api_key": "sk-test", **free}
        litellm.Router([{"model_name": "ours", "litellm_params": deployment}]).completion("ours", MESSAGES)
    else:
        ask(provider, "openai/gpt-4-turbo", **free)
    facts = spans.facts
    assert (facts[semconv.COST], facts[semconv.COST_STATUS]) == (0.0, semconv.COST_FREE)


def test_a_price_of_nothing_for_input_alone_is_not_free(
    provider: FakeProvider, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Output that has no price of the program's costs what the table says."""
    monkeypatch.setattr(litellm, "model_cost", deepcopy(litellm.model_cost))
    ask(provider, "openai/gpt-4-turbo", input_cost_per_token=0)
    assert spans.facts[semconv.COST] > 0


def test_a_model_of_another_seller_has_no_price(provider: FakeProvider, spans: Spans) -> None:
    """gpt-4o behind somebody's vLLM is not OpenAI's gpt-4o: its price is unknown."""
    ask(provider, "hosted_vllm/gpt-4o")
    assert spans.facts[semconv.COST_STATUS] == semconv.COST_UNKNOWN
    assert semconv.COST not in spans.facts


def test_counted_tokens_make_an_estimated_cost(provider: FakeProvider, spans: Spans) -> None:
    """A stream without usage is priced by tokens that we counted, and says so."""
    provider.stream(["one ", "two"], times=None)
    for _ in ask(provider, "openai/gpt-4o", stream=True, stream_options={"include_usage": False}):
        pass
    until(lambda: spans.llm)
    facts = dict(spans.llm[-1].attributes or {})
    assert facts[semconv.USAGE_ESTIMATED] is True
    assert facts[semconv.COST_STATUS] == semconv.COST_ESTIMATED
    assert facts[semconv.COST] > 0


def test_prices_that_the_program_told_litellm_hold(provider: FakeProvider, spans: Spans) -> None:
    """`input_cost_per_token` in the call itself goes before the table, as litellm has it."""
    provider.answer("ok", usage=Usage(1000, 100))
    ask(provider, "openai/gpt-4o", input_cost_per_token=1e-6, output_cost_per_token=2e-6)
    assert spans.facts[semconv.COST] == pytest.approx(0.0012, abs=1e-9)


def test_configure_tells_a_wrong_file_of_prices(tmp_path: Path) -> None:
    """A file of prices that cannot be used stops the start, by name, before anything is built."""
    path = tmp_path / "prices.toml"
    path.write_text('[models."gpt-4o"]\ninput_per_milion = 1')
    with pytest.raises(ConfigError, match="input_per_million"):
        otel_llm.configure(backend="none", prices_file=path, state_dir=tmp_path)
    assert otel_llm.status().running is False


def test_configure_puts_prices_in_force(provider: FakeProvider, tmp_path: Path) -> None:
    """`prices_file` and `model_aliases` price a call from `configure` to the local store."""
    path = tmp_path / "prices.toml"
    path.write_text('[models."gpt-4o"]\ninput_per_million = 1\noutput_per_million = 2')
    provider.answer("ok", usage=Usage(1000, 100))
    settings = {"prices_file": path, "model_aliases": {"team-chat": "gpt-4o"}, "state_dir": tmp_path}
    otel_llm.configure(backend="local", http_spans=False, **settings)
    try:
        ask(provider, "openai/team-chat")
        assert otel_llm.flush(10).delivered == 1
    finally:
        otel_llm.shutdown()
    with sqlite3.connect(tmp_path / "store.db") as connection:
        row = connection.execute("SELECT cost_nano_usd, cost_status FROM spans").fetchone()
    connection.close()
    assert row == (1_200_000, semconv.COST_OVERRIDDEN)


def test_a_models_name_writes_no_line_of_its_own_into_the_log(
    provider: FakeProvider, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    """Line breaks and colours of a name that a tenant may have chosen are spelt out, and it is cut."""
    with caplog.at_level(logging.WARNING, "otel_llm"):
        ask(provider, "openai/x\n\x1b[31mCRITICAL all is lost" + "x" * 900)
        assert spans.llm
    (said,) = [record.getMessage() for record in caplog.records if "No price is known" in record.getMessage()]
    assert "x\\n\\x1b[31mCRITICAL" in said
    assert said.isprintable()
    assert len(said) < 600
