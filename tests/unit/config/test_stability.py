"""`OTEL_SEMCONV_STABILITY_OPT_IN`: the word that is ours, words that are not, and slips of the pen."""

from __future__ import annotations

import pytest

from otel_llm.config import load
from otel_llm.config.stability import VARIABLE, misspelt_opt_ins, newest_only


@pytest.mark.parametrize("text", ["gen_ai_latest_experimental", "http/dup, gen_ai_latest_experimental", "a,,b"])
def test_words_of_others_and_ours_are_right(text: str) -> None:
    """Nothing is said about the word that exists, about other domains, and about empty parts."""
    assert misspelt_opt_ins({VARIABLE: text}) == []
    assert newest_only(text) == ("new" if "gen_ai" in text else None)


def test_an_absent_variable_asks_for_nothing() -> None:
    """Without the variable there is nothing to obey and nothing to complain of."""
    assert misspelt_opt_ins({}) == []
    assert load(environ={}).metrics.generation == "both"


@pytest.mark.parametrize("word", ["gen_ai", "gen_ai/dup", "GEN_AI_LATEST_EXPERIMENTAL", "genai_latest_experimental"])
def test_a_slip_is_named_with_the_right_word(word: str) -> None:
    """A word about GenAI that nobody knows is answered with the one that exists; it asks for nothing."""
    (sentence,) = misspelt_opt_ins({VARIABLE: f"http,{word}"})
    assert repr(word) in sentence
    assert "gen_ai_latest_experimental" in sentence
    assert newest_only(word) is None


def test_metrics_obey_the_opt_in_unless_our_own_setting_says_more() -> None:
    """Who asks for the newest names gets metrics of no older ones; `metrics.generation` itself is stronger."""
    environ = {VARIABLE: "http/dup,gen_ai_latest_experimental"}
    assert load(environ=environ).metrics.generation == "new"
    assert load(environ={**environ, "OTEL_LLM_METRICS_GENERATION": "both"}).metrics.generation == "both"
    assert load(environ={VARIABLE: "http/dup"}).metrics.generation == "both"
