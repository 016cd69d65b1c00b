"""The last stage before a span is queued: takes secrets and personal data out of every text on it.

Every text means the span's name, its attributes (JSON stays valid JSON), the description of its status, and its events,
exceptions with their stack traces among them. The resource is left as the program described it. Most spans hold
nothing: one search for signs over all texts together finds that out; patterns run over the rest only.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from opentelemetry.sdk.trace import Event
from opentelemetry.trace import Status

from otel_llm.processors.content_names import FACTS
from otel_llm.processors.detectors import DETECTORS, Detector
from otel_llm.processors.json_texts import is_json, with_strings_replaced
from otel_llm.processors.known_secrets import KnownSecrets, secrets_of
from otel_llm.processors.presidio import PresidioRedactor
from otel_llm.processors.pseudonyms import Substitutes
from otel_llm.processors.signs import Searched, spells_letters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from otel_llm.config import Config
    from otel_llm.processors.draft import SpanDraft

__all__ = ["Redaction", "Redactor"]

Redactor: TypeAlias = "Callable[[str], str]"
"""A function of the user's: takes a text, answers what may be kept of it."""

_KEYS: Final = "keys"
_PRESIDIO: Final = "presidio"
_DEEPEST_JSON: Final = 4
"""Levels of JSON inside JSON strings that are read as JSON; below, as text."""
_DEEPEST_VALUE: Final = 32
_SHORTEST: Final = 5
"""Characters below which a text is none of the things that are looked for."""
_SHORT: Final = 64
_MOST_HARMLESS: Final = 4096
_STRUCTURE: Final = frozenset({"role", "type", "finish_reason", "modality", "mime_type"})
"""Members of messages that are words of a schema, which the user's functions do not see."""
_SECRET_NAME: Final = re.compile(
    r"(^|[._-])(authorization|cookie|set[_-]cookie|credentials?|passw(or)?d|passphrase|secret"
    r"|((x|x-goog|subscription)[_-])?(api|access|secret|private|master)[_-]?key|(access|auth|refresh|session|id)[_-]?token"
    r"|client[_-]?secret)$",
    re.IGNORECASE,
)
_WHOLE: Final = "key"


class Redaction:
    """End stage: replaces what `detectors` and `secrets` find, then lets `functions` change what they will.

    `detectors` are names of `detectors.DETECTORS`; `secrets` values that are looked for literally (with `keys` only).
    Raises if a function does, without the function's words: the pipeline then takes all content off the span.
    """

    name = "redaction"
    fails_closed = True

    def __init__(
        self,
        detectors: Iterable[str],
        *,
        substitutes: Substitutes | None = None,
        functions: Sequence[Redactor] = (),
        secrets: Iterable[str] = (),
    ) -> None:
        wanted = frozenset(detectors)
        self._detectors = tuple(found for name, found in DETECTORS.items() if name in wanted)
        self._substitute = substitutes or Substitutes()
        self._functions = tuple(functions)
        self._by_name = _KEYS in wanted
        self._secrets = KnownSecrets(secrets if self._by_name else ())
        self._harmless = _Harmless()

    @classmethod
    def of(cls, config: Config, functions: Sequence[Redactor] = ()) -> Redaction:
        """The redaction that the settings describe; raises `ConfigError` where Presidio is named and not there."""
        if _PRESIDIO in config.redact:
            presidio = PresidioRedactor(model=config.presidio_model, pseudonym_key=config.pseudonym_key)
            functions = (presidio, *functions)
        return cls(
            config.redact,
            substitutes=Substitutes(config.pseudonym_key),
            functions=functions,
            secrets=secrets_of(config),
        )

    def __call__(self, draft: SpanDraft) -> SpanDraft:
        """Redact `draft` in place."""
        try:
            self._redact(draft)
        except Exception as error:  # noqa: BLE001  (its words may quote the text that it failed on)
            message = f"a text could not be redacted ({type(error).__name__})"
            raise RuntimeError(message) from None
        return draft

    def _redact(self, draft: SpanDraft) -> None:
        if self._by_name and _names_secrets(tuple(draft.attributes)):
            _withhold_secret_attributes(draft.attributes, self._substitute)
        unknown = self._harmless.unknown_among(_texts(draft))
        together = "\n".join(unknown)
        sought = _sought(self._detectors, together)
        known = self._secrets if self._secrets.are_in(together) else None
        if not (sought or known):
            self._harmless.add(unknown)
            if not self._functions:
                return
        texts = _Texts(sought, known, self._functions, self._substitute, self._by_name)
        draft.name = texts.value("", draft.name)
        for key, value in draft.attributes.items():
            draft.attributes[key] = texts.value(key, value)
        if draft.events:
            draft.events = tuple(_with_texts(event, texts) for event in draft.events)
        if draft.status.description:
            draft.status = Status(draft.status.status_code, texts.value("", draft.status.description))


class _Harmless:
    """Short texts in which nothing was found: names of models, tenants and operations come again with every span.

    What holds nothing among others holds nothing alone, so they need not be searched again.
    """

    def __init__(self) -> None:
        self._known: set[str] = set()

    def unknown_among(self, texts: Iterable[str]) -> list[str]:
        """Those of the texts that may hold something."""
        known = self._known
        return [text for text in texts if len(text) > _SHORT or text not in known]

    def add(self, texts: Iterable[str]) -> None:
        """Remember the short ones among `texts`, in which nothing was found."""
        for text in texts:
            if len(text) <= _SHORT:
                if len(self._known) >= _MOST_HARMLESS:
                    self._known.clear()
                self._known.add(text)


class _Texts:
    """Redacts the texts of one span with what was found to be worth looking for in it."""

    def __init__(
        self,
        detectors: Sequence[Detector],
        known: KnownSecrets | None,
        functions: Sequence[Redactor],
        substitute: Substitutes,
        by_name: bool,  # noqa: FBT001  (passed on from one constructor)
    ) -> None:
        self._detectors = detectors
        self._known = known
        self._functions = functions
        self._substitute = substitute
        self._by_name = by_name

    def value(self, key: str, value: Any, depth: int = 0) -> Any:
        """An attribute's value, whatever its type, without what must go."""
        if isinstance(value, str):
            return self._fact(value) if key in FACTS else self._text(value, 0)
        if isinstance(value, (int, float)) or value is None:
            return value
        if isinstance(value, bytes):
            text = value.decode("utf-8", "surrogateescape")
            return self._text(text, 0).encode("utf-8", "surrogateescape")
        if depth > _DEEPEST_VALUE:
            return None
        if isinstance(value, dict):
            return {self._text(name, 0): self.value(key, entry, depth + 1) for name, entry in value.items()}
        if isinstance(value, (list, tuple)):
            return tuple(self.value(key, entry, depth + 1) for entry in value)
        return value

    def _may_hold_something(self, text: str) -> bool:
        known = self._known is not None and self._known.are_in(text)
        return known or bool(_sought(self._detectors, text))

    def _fact(self, text: str) -> str:
        """A fact of the call: keys have no business in it, everything else may look alike."""
        return self._found(text, personal=False)

    def _text(self, text: str, depth: int, name: str = "") -> str:
        if depth == 0 and not self._functions and not self._may_hold_something(text):
            return text
        if depth < _DEEPEST_JSON and is_json(text):
            return with_strings_replaced(text, lambda string, member: self._text(string, depth + 1, member))
        if self._by_name and text and name and _names_a_secret(name):
            return self._substitute(_WHOLE, text)
        text = self._found(text, personal=True)
        if name in _STRUCTURE:
            return text
        for function in self._functions:
            made: object = function(text)
            if not isinstance(made, str):
                message = "a redactor answered something that is not text"
                raise TypeError(message)
            text = made
        return text

    def _found(self, text: str, *, personal: bool) -> str:
        if len(text) < _SHORTEST:
            return text
        if self._known is not None:
            text = self._known.replace(text, lambda secret: self._substitute(_WHOLE, secret))
        for detector in self._detectors:
            if personal or not detector.personal:
                text = detector.replace(text, self._substitute)
        return text


def _sought(detectors: Sequence[Detector], text: str) -> Sequence[Detector]:
    """Those of the detectors that may find something in a text, or in JSON that it is."""
    searched = Searched.of(text)
    if spells_letters(searched):
        return detectors
    return [detector for detector in detectors if detector.may_be_in(searched)]


def _texts(draft: SpanDraft) -> list[str]:
    """Every text of a draft, for one search over all of them."""
    found, texts = [draft.name], draft.texts
    if texts is not None:
        found += texts.each
    else:
        for value in draft.attributes.values():
            found += _texts_in(value)
    for event in draft.events:
        for value in (event.attributes or {}).values():
            found += _texts_in(value)
    if draft.status.description:
        found.append(draft.status.description)
    return found


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "surrogateescape")
    elif isinstance(value, dict):
        for name, entry in value.items():
            yield str(name)
            yield from _texts_in(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from _texts_in(entry)


def _with_texts(event: Event, texts: _Texts) -> Event:
    attributes = {key: texts.value(key, value) for key, value in (event.attributes or {}).items()}
    return Event(texts.value("", event.name), attributes, event.timestamp)


def _withhold_secret_attributes(attributes: dict[str, Any], substitute: Substitutes) -> None:
    """Replace the values of attributes that are named like secrets: request headers, entries of metadata."""
    for key, value in attributes.items():
        if not _names_a_secret(key):
            continue
        if isinstance(value, str):
            attributes[key] = substitute(_WHOLE, value)
        elif isinstance(value, (list, tuple)):
            attributes[key] = tuple(substitute(_WHOLE, str(entry)) for entry in value)


@lru_cache(maxsize=1024)
def _names_secrets(names: tuple[str, ...]) -> bool:
    """Whether one of a span's attributes is named like a secret; spans of a program share few sets of names."""
    return any(map(_names_a_secret, names))


@lru_cache(maxsize=4096)
def _names_a_secret(name: str) -> bool:
    """Whether what goes by this name is a secret as a whole."""
    return _SECRET_NAME.search(name) is not None
