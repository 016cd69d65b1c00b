"""Tests of a program that calls a model: what it called, what that cost, what its traces look like.

pytest examples/test_with_llm_spans.py
"""

from __future__ import annotations

import litellm
import pytest

import otel_llm
from otel_llm.testing import FakeProvider, Usage


@pytest.fixture
def provider():
    with FakeProvider() as provider:
        yield provider


def ask(provider, question):
    """The program under test."""
    with otel_llm.tenant("acme", session="s1"):
        answer = litellm.completion(
            model="openai/gpt-4o-mini",
            messages=[{"role": "user", "content": question}],
            api_base=provider.openai_base,
            api_key="any",
        )
    return answer.choices[0].message.content


def test_asks_once_for_the_tenant(llm_spans, provider):
    provider.answer("Paris", usage=Usage(input_tokens=12, output_tokens=1))
    assert ask(provider, "What is the capital of France?") == "Paris"
    [call] = llm_spans.assert_called(model="gpt-4o-mini", tenant="acme", times=1)
    assert (call.input_tokens, call.output_tokens, call.session) == (12, 1, "s1")


@pytest.mark.llm_budget(usd=0.01, tokens=2000)
def test_stays_within_its_budget(provider):
    ask(provider, "What is the capital of France?")


def test_leaves_the_same_trace(llm_spans, provider):
    ask(provider, "What is the capital of France?")
    assert [span["name"] for span in llm_spans.snapshot()] == ["chat gpt-4o-mini"]
