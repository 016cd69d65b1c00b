"""Where a call goes, as litellm tells it: asked seldom, and never for long."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import litellm
import pytest

from otel_llm.instrumentation.litellm import guest

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "gsk_once_and_never_again"


class Asked:
    """litellm's own `get_llm_provider`, counted."""

    def __init__(self) -> None:
        self.times = 0
        self._ask = litellm.get_llm_provider

    def __call__(self, **named: Any) -> Any:
        self.times += 1
        return self._ask(**named)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """The count, with nothing remembered."""
    monkeypatch.setattr(guest, "_answers", {})
    counted = Asked()
    monkeypatch.setattr(litellm, "get_llm_provider", counted)
    return counted


def test_a_busy_program_asks_once(asked: Asked) -> None:
    """The same question within a moment has the same answer, for which litellm is asked once; another one is new."""
    assert {guest.resolve("openai/gpt-4o-mini", {}) for _ in range(50)} == {("gpt-4o-mini", "openai", None)}
    assert asked.times == 1
    assert guest.resolve("gpt-4o-mini", {"api_base": "http://127.0.0.1:1/v1"})[2] == "http://127.0.0.1:1/v1"
    assert guest.resolve("gpt-4o-mini", {"custom_llm_provider": "azure"})[1] == "azure"
    assert asked.times == 3


def test_no_answer_is_good_for_long(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the program changes in its environment is seen a moment later."""
    monkeypatch.setattr(guest, "_GOOD_SECONDS", 0.05)
    monkeypatch.setenv("GROQ_API_BASE", "http://127.0.0.1:1/before")
    assert guest.resolve("groq/llama3-8b-8192", {})[2] == "http://127.0.0.1:1/before"
    monkeypatch.setenv("GROQ_API_BASE", "http://127.0.0.1:1/after")
    time.sleep(0.06)
    assert guest.resolve("groq/llama3-8b-8192", {})[2] == "http://127.0.0.1:1/after"
    assert asked.times == 2


def test_what_litellm_does_not_know_is_asked_each_time(asked: Asked) -> None:
    """A provider that the program registers after a failed call is known with the next one."""
    for _ in range(2):
        assert guest.resolve("nobody-knows-this", {}) == ("nobody-knows-this", None, None)
    assert asked.times == 2


def test_keys_are_not_kept(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer of litellm has the key of the environment in it; what is kept of the answer does not."""
    monkeypatch.setenv("GROQ_API_KEY", SECRET)
    assert SECRET in str(litellm.get_llm_provider(model="groq/llama3-8b-8192"))
    guest.resolve("groq/llama3-8b-8192", {})
    assert guest._answers
    assert SECRET not in str(guest._answers)


def test_memory_is_bounded(asked: Asked) -> None:
    """A program that names thousands of models, or base URLs, does not make us grow."""
    for number in range(1000):
        guest.resolve("openai/gpt-4o-mini", {"api_base": f"http://127.0.0.1:1/{number}"})
    assert len(guest._answers) <= 256


@pytest.mark.parametrize("odd", [["list"], {"a": 1}, 7])
def test_odd_arguments_are_litellms_to_judge(odd: Any, asked: Asked) -> None:
    """An argument that is no text is for litellm to judge: it is not looked into, and nothing is kept of it."""
    guest.resolve("openai/gpt-4o-mini", {"api_base": odd})
    assert asked.times == 1
    assert [key[1:] for key in guest._answers] == [("openai/gpt-4o-mini", None, None)]
