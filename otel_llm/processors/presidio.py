"""Microsoft Presidio as a redactor: names, places and national identifiers that patterns of our own do not know.

An extra (`pip install 'otel-llm[presidio]'`), loaded when it is asked for. Presidio's own default downloads a language
model of 400 MB when it starts, and two of its recognizers fetch a list from the network in the middle of a call:
neither happens here. Without a model that is installed already only its patterns and checksums work, no names.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any, Final

from otel_llm.errors import ConfigError
from otel_llm.processors.detectors import DETECTORS
from otel_llm.processors.pseudonyms import Substitutes

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["PresidioRedactor"]

_EMAIL: Final = "EMAIL_ADDRESS"
_BY_NETWORK: Final = ("EmailRecognizer", "UrlRecognizer")
"""They ask tldextract, which fetches the public suffixes. E-mail addresses are found by our own detector instead."""
_LEFT_OUT: Final = frozenset({"URL", "DATE_TIME", "UUID"})
"""What Presidio finds and traces are made of."""
_SCORE: Final = 0.5
_SHORTEST: Final = 5
"""Characters below which a text is none of the things that are looked for."""


class PresidioRedactor:
    """Replaces what Presidio finds in a text: `<person>`, or with a pseudonym key `<person:3f2a9c...>`.

        otel_llm.configure(redactors=[otel_llm.PresidioRedactor(model="en_core_web_sm")])

    `model` is an installed spaCy model, `entities` what to look for (Presidio's names; default: all but URLs, dates and
    UUIDs), `score` how sure it must be (0 to 1). An `analyzer` (a `presidio_analyzer.AnalyzerEngine`) of your own is
    used as it is. Raises `ConfigError` when Presidio or the model is not installed. The setting `redact` makes one
    with these defaults where it names `presidio`.
    """

    def __init__(
        self,
        *,
        model: str | None = None,
        entities: Collection[str] | None = None,
        language: str = "en",
        score: float = _SCORE,
        analyzer: Any = None,
        pseudonym_key: str | None = None,
    ) -> None:
        self._language = language
        self._score = score
        self._substitute = Substitutes(pseudonym_key)
        self._analyzer = _engine(model, language) if analyzer is None else analyzer
        known = self._analyzer.get_supported_entities(language)
        wanted = set(known) - _LEFT_OUT if entities is None else set(entities)
        self._email = analyzer is None and (entities is None or _EMAIL in wanted)
        self._entities = sorted(wanted - {_EMAIL} if self._email else wanted)

    def __call__(self, text: str) -> str:
        """`text` with each find replaced; raises what Presidio raises, and the span then loses its texts."""
        if len(text) < _SHORTEST:
            return text
        found = self._analyzer.analyze(
            text, language=self._language, entities=self._entities, score_threshold=self._score
        )
        taken: list[Any] = []
        for one in sorted(found, key=lambda one: (-one.score, one.start - one.end)):
            if all(one.end <= other.start or other.end <= one.start for other in taken):
                taken.append(one)
        for one in sorted(taken, key=lambda one: one.start, reverse=True):
            value = text[one.start : one.end]
            text = text[: one.start] + self._substitute(one.entity_type.lower(), value) + text[one.end :]
        return DETECTORS["email"].replace(text, self._substitute) if self._email else text

    def __repr__(self) -> str:
        return f"PresidioRedactor({len(self._entities)} entities, {self._language})"


def _engine(model: str | None, language: str) -> Any:
    """Presidio's engine without a download: an installed model, or a tokenizer alone for the patterns."""
    if importlib.util.find_spec("presidio_analyzer") is None:
        raise ConfigError(
            "Presidio is asked for (redact, PresidioRedactor) and not installed. Install it with: "
            "pip install 'otel-llm[presidio]'"
        )
    spacy = importlib.import_module("spacy")
    if model is not None and not spacy.util.is_package(model):
        raise ConfigError(
            f"presidio_model: the spaCy model {model!r} is not installed, and nothing is downloaded at run time. "
            f"Install it with: python -m spacy download {model}"
        )
    presidio = importlib.import_module("presidio_analyzer")
    engines = importlib.import_module("presidio_analyzer.nlp_engine")
    nlp = engines.SpacyNlpEngine(models=[{"lang_code": language, "model_name": model or "blank"}])
    nlp.nlp = {language: spacy.load(model) if model else _blank(spacy, language)}  # its `load` would download
    registry = presidio.RecognizerRegistry(supported_languages=[language])
    registry.load_predefined_recognizers(languages=[language], nlp_engine=nlp)
    for name in _BY_NETWORK:
        registry.remove_recognizer(name)
    return presidio.AnalyzerEngine(registry=registry, nlp_engine=nlp, supported_languages=[language])


def _blank(spacy: Any, language: str) -> Any:
    """A language's tokenizer; lemmas are the words themselves, so that words beside a number count as its context."""
    nlp = spacy.blank(language)
    tokenize = nlp.tokenizer

    def tokenized(text: str) -> Any:
        doc = tokenize(text)
        for token in doc:
            token.lemma_ = token.lower_
        return doc

    nlp.tokenizer = tokenized
    return nlp
