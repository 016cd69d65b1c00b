"""Presidio as a redactor: the real library without a language model, one of the user's own, and what is missing."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from typing import Any, NamedTuple

import pytest

import otel_llm
from otel_llm import faults, semconv
from otel_llm.config import load
from otel_llm.errors import ConfigError
from otel_llm.processors.chain import SpanPipeline
from otel_llm.processors.draft import SpanDraft
from otel_llm.processors.presidio import PresidioRedactor
from otel_llm.processors.redaction import Redaction
from tests.fakes.spans import make_span

HAS_PRESIDIO = importlib.util.find_spec("presidio_analyzer") is not None
needs_presidio = pytest.mark.skipif(
    not HAS_PRESIDIO and os.environ.get("CI") != "true", reason="needs the extra `presidio`"
)
SSN = "My social security number is 536-90-4399."


@pytest.fixture(scope="module")
def patterns() -> PresidioRedactor:
    """Presidio without a language model; made once, for it takes seconds."""
    return PresidioRedactor()


@needs_presidio
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SSN, "My social security number is <us_ssn>."),
        ("my bitcoin wallet is 16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyZ.", "my bitcoin wallet is <crypto>."),
        ("card 4111 1111 1111 1111 please", "card <credit_card> please"),
        ("mail bob@example.com or bob@example.org", "mail <email> or <email>"),
        ("see https://example.com/a?b=1 of 2026-11-26, 6f1b0f7e-9f6e-4c53-9b62-0a4f6c1d2e3f", None),
        ("nothing of the kind", None),
        ("", None),
    ],
)
def test_what_its_patterns_find_is_replaced(text: str, expected: str | None, patterns: PresidioRedactor) -> None:
    """Numbers with a checksum or with words beside them go; addresses, dates and ids of a trace stay."""
    assert patterns(text) == (text if expected is None else expected)


@needs_presidio
def test_it_asks_nobody_on_the_network() -> None:
    """In a process in which no name can be resolved and no connection made, it starts and finds."""
    program = f"""
import socket
def refuse(*args, **kwargs): raise SystemExit(f"asked the network: {{args}}")
socket.getaddrinfo = socket.create_connection = refuse
socket.socket.connect = refuse
import otel_llm
print(otel_llm.PresidioRedactor()({SSN + " bob@example.com https://example.com"!r}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("<us_ssn>. <email> https://example.com")


@needs_presidio
def test_the_setting_puts_it_to_work(patterns: PresidioRedactor, monkeypatch: pytest.MonkeyPatch) -> None:
    """`redact=presidio` runs it over messages, tool arguments and errors; JSON stays JSON, facts of the call stay."""
    monkeypatch.setattr("otel_llm.processors.redaction.PresidioRedactor", lambda **_: patterns)
    config = load(environ={"OTEL_LLM_REDACT": "keys,presidio"})
    messages = [{"role": "user", "parts": [{"type": "text", "content": SSN}]}]
    attributes = {semconv.INPUT_MESSAGES: json.dumps(messages), semconv.REQUEST_MODEL: "536-90-4399"}
    draft = Redaction.of(config)(SpanDraft(make_span(attributes=attributes)))
    (message,) = json.loads(draft.attributes[semconv.INPUT_MESSAGES])
    assert message["parts"][0]["content"] == "My social security number is <us_ssn>."
    assert draft.attributes[semconv.REQUEST_MODEL] == "536-90-4399"


@needs_presidio
def test_a_model_that_is_not_installed_is_told_at_the_start(tmp_path: Any) -> None:
    """Nothing is downloaded: `configure` raises and says how to install the model."""
    with pytest.raises(ConfigError, match="python -m spacy download en_core_web_nonexistent"):
        otel_llm.configure(
            backend="none", redact=["presidio"], presidio_model="en_core_web_nonexistent", state_dir=tmp_path
        )
    assert otel_llm.status().running is False


# --- an analyzer of the user's own: anything with Presidio's two methods ------------------------------------------


class Result(NamedTuple):
    """What Presidio's analyzer answers with, as far as it is read."""

    entity_type: str
    start: int
    end: int
    score: float


class Analyzer:
    """Finds the names that it was given."""

    def __init__(self, *found: tuple[str, str, float]) -> None:
        self.found = found
        self.asked: list[dict[str, Any]] = []

    def get_supported_entities(self, language: str) -> list[str]:
        return ["PERSON", "LOCATION", "URL", "EMAIL_ADDRESS"]

    def analyze(self, text: str, **options: Any) -> list[Result]:
        self.asked.append(options)
        return [
            Result(kind, text.index(word), text.index(word) + len(word), score)
            for kind, word, score in self.found
            if word in text
        ]


def test_an_analyzer_of_ones_own_is_used_as_it_is() -> None:
    """With a language model of the user's, names go; it is asked for the entities, the language and the score given."""
    analyzer = Analyzer(("PERSON", "Ada Lovelace", 0.9))
    redactor = PresidioRedactor(analyzer=analyzer, entities=["PERSON"], language="de", score=0.7)
    assert redactor("Ask Ada Lovelace.") == "Ask <person>."
    assert analyzer.asked == [{"language": "de", "entities": ["PERSON"], "score_threshold": 0.7}]


def test_without_entities_it_is_asked_for_all_but_what_traces_are_made_of() -> None:
    """URLs are not asked for; e-mail addresses are, by the user's analyzer itself."""
    analyzer = Analyzer()
    PresidioRedactor(analyzer=analyzer)("some text")
    assert analyzer.asked[0]["entities"] == ["EMAIL_ADDRESS", "LOCATION", "PERSON"]


def test_of_finds_that_overlap_the_surer_and_longer_is_taken() -> None:
    """A text is replaced once, whatever lies inside what, and the finds beside it are replaced too."""
    analyzer = Analyzer(
        ("LOCATION", "Paris", 0.85),
        ("PERSON", "Paris Hilton", 0.85),
        ("PERSON", "Hilton", 0.6),
        ("LOCATION", "Rome", 0.6),
    )
    assert PresidioRedactor(analyzer=analyzer)("Paris Hilton in Rome") == "<person> in <location>"


def test_pseudonyms_join() -> None:
    """With a key the same name has the same pseudonym, another name another one."""
    analyzer = Analyzer(("PERSON", "Ada", 0.9), ("PERSON", "Bob", 0.9))
    redactor = PresidioRedactor(analyzer=analyzer, pseudonym_key="k" * 16)
    ada, bob, again = redactor("I am Ada"), redactor("I am Bob"), redactor("So Ada it is")
    assert ada.startswith("I am <person:")
    assert ada.removeprefix("I am ") == again.removeprefix("So ").removesuffix(" it is")
    assert ada != bob


def test_an_analyzer_that_raises_costs_the_content_and_is_counted() -> None:
    """Text that could not be looked at is not kept; the span, its tokens and its tenant are."""

    class Broken(Analyzer):
        def analyze(self, text: str, **options: Any) -> list[Result]:
            raise RuntimeError(text)

    exported: list[Any] = []
    exporter = type("Sink", (), {"on_end": lambda self, span: exported.append(span)})()
    faults.reset_faults()
    stage = Redaction(["keys"], functions=[PresidioRedactor(analyzer=Broken())])
    attributes = {semconv.INPUT_MESSAGES: "[]canary", semconv.TENANT_ID: "acme", semconv.USAGE_INPUT: 3}
    SpanPipeline(exporter, on_end=[stage]).on_end(make_span(attributes=attributes))
    (span,) = exported
    assert "canary" not in repr(dict(span.attributes))
    assert (span.attributes[semconv.TENANT_ID], span.attributes[semconv.USAGE_INPUT]) == ("acme", 3)
    assert faults.fault_counts() == {"end stage redaction": 1}


def test_it_is_loaded_only_when_asked_for() -> None:
    """Neither the package nor a pipeline without it imports Presidio or spaCy."""
    program = (
        "import sys, otel_llm; otel_llm.PresidioRedactor; otel_llm.configure(backend='none', content='on'); "
        "print({'presidio_analyzer', 'spacy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


def test_without_the_package_the_start_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for and not there: an error that names the extra, never silence."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'otel-llm\[presidio\]'"):
        Redaction.of(load(environ={"OTEL_LLM_REDACT": "presidio"}))
