"""What one finished call adds to which metric of the conventions: a pure reading of its span.

Two generations of names are in the field (docs/metrics.md). Rules that hold for both:

* Duration and time to first chunk are of logical calls; tokens and cost of the spans that carry them, attempts
  included, so that what was billed counts once.
* Tokens are what was billed: an answer from the response cache has none, and estimates count only where asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from opentelemetry.trace import StatusCode

from otel_llm import semconv

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otel_llm.processors.draft import SpanDraft
    from otel_llm.processors.label_sets import LabelSet, LabelSets

__all__ = [
    "LARGEST_COUNT",
    "MEASURES",
    "MODALITIES",
    "MONEY",
    "OPERATION_TOKENS",
    "TOKEN_USAGE",
    "TOTALS",
    "UNKNOWN_COST",
    "Generation",
    "Measure",
    "MeasureRules",
    "Measured",
    "is_unpriced",
    "measured",
    "times_of",
]

Generation: TypeAlias = Literal["both", "new", "old"]

_SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS: Final = tuple(float(4**power) for power in range(14))


class Measure:
    """One instrument; each is itself only, whatever it is called."""

    __slots__ = ("about", "bounds", "name", "unit")

    def __init__(self, name: str, unit: str, about: str, bounds: tuple[float, ...] = ()) -> None:
        self.name = name
        self.unit = unit
        self.about = about
        self.bounds = bounds
        """Upper bounds of a histogram's buckets; empty for a counter."""


def _seconds(name: str, about: str) -> Measure:
    return Measure(name, "s", about, _SECONDS)


def _counter(name: str, about: str, unit: str = "{token}") -> Measure:
    return Measure(name, unit, about)


def _tokens(name: str, about: str) -> Measure:
    return Measure(name, "{token}", about, _TOKENS)


_INFERENCE_DURATION: Final = _seconds(semconv.METRIC_INFERENCE_DURATION, "Duration of inferences.")
_INFERENCE_CHUNK: Final = _seconds(semconv.METRIC_INFERENCE_FIRST_CHUNK, "Time to the first chunk of streams.")
_USAGE_INPUT: Final = _counter(semconv.METRIC_USAGE_INPUT, "Input tokens billed.")
_USAGE_OUTPUT: Final = _counter(semconv.METRIC_USAGE_OUTPUT, "Output tokens billed.")
_USAGE_READ: Final = _counter(semconv.METRIC_USAGE_CACHE_READ, "Input tokens read from the provider's cache.")
_USAGE_WRITE: Final = _counter(semconv.METRIC_USAGE_CACHE_WRITE, "Input tokens written to the provider's cache.")
_USAGE_REASONING: Final = _counter(semconv.METRIC_USAGE_REASONING, "Output tokens of reasoning.")
_OPERATION_INPUT: Final = _tokens(semconv.METRIC_OPERATION_INPUT, "Input tokens of each inference.")
_OPERATION_OUTPUT: Final = _tokens(semconv.METRIC_OPERATION_OUTPUT, "Output tokens of each inference.")
_OPERATION_DURATION: Final = _seconds(semconv.METRIC_OPERATION_DURATION, "Duration of GenAI client operations.")
_OPERATION_CHUNK: Final = _seconds(semconv.METRIC_OPERATION_FIRST_CHUNK, "Time to the first chunk of streams.")
TOKEN_USAGE: Final = _tokens(semconv.METRIC_TOKEN_USAGE, "Input and output tokens of each operation.")
_COST: Final = _counter(semconv.METRIC_COST, "Known cost.", "{USD}")
_SAVED: Final = _counter(semconv.METRIC_COST_SAVED, "What answers from the response cache would have cost.", "{USD}")
UNKNOWN_COST: Final = _counter(semconv.METRIC_COST_UNKNOWN, "Calls whose price is not known.", "{call}")

_NEW: Final = (
    _INFERENCE_DURATION,
    _INFERENCE_CHUNK,
    _USAGE_INPUT,
    _USAGE_OUTPUT,
    _USAGE_READ,
    _USAGE_WRITE,
    _USAGE_REASONING,
    _OPERATION_INPUT,
    _OPERATION_OUTPUT,
    _OPERATION_DURATION,
)
_OLD: Final = (_OPERATION_DURATION, _OPERATION_CHUNK, TOKEN_USAGE)
_OURS: Final = (_COST, _SAVED, UNKNOWN_COST)
MEASURES: Final[dict[Generation, tuple[Measure, ...]]] = {
    "new": (*_NEW, *_OURS),
    "old": (*_OLD, *_OURS),
    "both": (*dict.fromkeys((*_NEW, *_OLD)), *_OURS),
}
"""Generation -> its instruments."""

_MODALITIES: Final = {
    _USAGE_INPUT: (
        (semconv.USAGE_TEXT_INPUT, "text"),
        (semconv.USAGE_IMAGE_INPUT, "image"),
        (semconv.USAGE_AUDIO_INPUT, "audio"),
    ),
    _USAGE_OUTPUT: (
        (semconv.USAGE_TEXT_OUTPUT, "text"),
        (semconv.USAGE_IMAGE_OUTPUT, "image"),
        (semconv.USAGE_AUDIO_OUTPUT, "audio"),
    ),
    _USAGE_READ: ((semconv.USAGE_AUDIO_CACHE_READ, "audio"),),
    _USAGE_WRITE: (),
    _USAGE_REASONING: (),
}
"""Counter -> parts of its total whose modality is known."""
TOTALS: Final = (
    (_USAGE_INPUT, semconv.USAGE_INPUT),
    (_USAGE_OUTPUT, semconv.USAGE_OUTPUT),
    (_USAGE_READ, semconv.USAGE_CACHE_READ),
    (_USAGE_WRITE, semconv.USAGE_CACHE_WRITE),
    (_USAGE_REASONING, semconv.USAGE_REASONING),
)
OPERATION_TOKENS: Final = ((_OPERATION_INPUT, semconv.USAGE_INPUT), (_OPERATION_OUTPUT, semconv.USAGE_OUTPUT))
MONEY: Final = ((_COST, semconv.COST), (_SAVED, semconv.COST_SAVED))
MODALITIES: Final = frozenset(name for parts in _MODALITIES.values() for name, _ in parts)
"""Attributes that say how many of the tokens were of which modality."""
LARGEST_COUNT: Final = 10**12


Measured: TypeAlias = "tuple[Measure, float, LabelSet]"
"""One number for one instrument, under its labels."""


class MeasureRules(NamedTuple):
    """What the settings say about metrics."""

    generation: Generation = "both"
    estimated_tokens: bool = False


def measured(draft: SpanDraft, rules: MeasureRules, sets: LabelSets) -> Iterator[Measured]:
    """Everything that a finished span adds to metrics; nothing for what is no call to a model."""
    facts = draft.attributes
    operation = facts.get(semconv.OPERATION_NAME)
    if operation not in semconv.LLM_OPERATIONS:
        return
    failed = draft.status.status_code is StatusCode.ERROR or semconv.ERROR_TYPE in facts
    labels = sets.of(facts)
    of_outcome = labels
    if failed:
        error = facts.get(semconv.ERROR_TYPE)
        name = sets.bounds.bounded("error", error) if isinstance(error, str) and error else "_OTHER"
        of_outcome = labels.plus(semconv.ERROR_TYPE, name)
    inference = operation in semconv.INFERENCE_OPERATIONS
    new, old = rules.generation != "old" and inference, rules.generation != "new"
    if semconv.ATTEMPT not in facts:
        yield from _times(draft, labels, of_outcome, new=new, old=old or not inference)
    counts = facts.get(semconv.CACHE_HIT) is not True and (
        rules.estimated_tokens or facts.get(semconv.USAGE_ESTIMATED) is not True
    )
    if new:
        yield from _new_tokens(facts, labels, of_outcome, counts=counts, failed=failed)
    if old and counts:
        yield from _old_tokens(facts, labels)
    yield from _money(facts, labels, failed=failed)


def times_of(*, new: bool, old: bool) -> tuple[tuple[Measure, ...], tuple[Measure, ...]]:
    """The instruments of a logical call's duration, and those of its time to the first chunk."""
    durations = ((_INFERENCE_DURATION, new), (_OPERATION_DURATION, old))
    chunks = ((_INFERENCE_CHUNK, new), (_OPERATION_CHUNK, old))
    return tuple(one for one, wanted in durations if wanted), tuple(one for one, wanted in chunks if wanted)


def _times(draft: SpanDraft, labels: LabelSet, of_outcome: LabelSet, *, new: bool, old: bool) -> Iterator[Measured]:
    durations, chunks = times_of(new=new, old=old)
    for measure in durations:
        yield measure, draft.seconds, of_outcome
    first = draft.attributes.get(semconv.TIME_TO_FIRST_CHUNK)
    if isinstance(first, (int, float)) and 0 <= first < float("inf"):
        for measure in chunks:
            yield measure, first, labels


def _new_tokens(
    facts: Mapping[str, Any], labels: LabelSet, of_outcome: LabelSet, *, counts: bool, failed: bool
) -> Iterator[Measured]:
    for measure, name in TOTALS:
        total = _count(facts.get(name)) if counts else None
        if total is None:
            continue
        for part, modality in _MODALITIES[measure]:
            known = min(_count(facts.get(part)) or 0, total)
            if known:
                total -= known
                yield (measure, known, labels.plus(semconv.TOKEN_MODALITY, modality))
        if total:
            yield (measure, total, labels.plus(semconv.TOKEN_MODALITY, "unknown"))
    for measure, name in OPERATION_TOKENS:
        total = _count(facts.get(name)) if counts else None
        if total is None and failed and semconv.ATTEMPT not in facts:
            total = 0  # the conventions count failed operations too
        if total is not None:
            yield (measure, total, of_outcome)


def _old_tokens(facts: Mapping[str, Any], labels: LabelSet) -> Iterator[Measured]:
    for name, kind in ((semconv.USAGE_INPUT, "input"), (semconv.USAGE_OUTPUT, "output")):
        total = _count(facts.get(name))
        if total is not None:
            yield (TOKEN_USAGE, total, labels.plus(semconv.TOKEN_TYPE, kind))


def _money(facts: Mapping[str, Any], labels: LabelSet, *, failed: bool) -> Iterator[Measured]:
    for measure, name in MONEY:
        amount = facts.get(name)
        if isinstance(amount, (int, float)) and 0 < amount < float("inf"):
            yield (measure, amount, labels)
    if is_unpriced(facts, failed=failed):
        yield (UNKNOWN_COST, 1, labels)


def is_unpriced(facts: Mapping[str, Any], *, failed: bool) -> bool:
    """Whether a span used something whose price is not known; failing before anything was used is not meant."""
    if semconv.COST in facts or semconv.ATTEMPTS in facts:
        return False
    used = semconv.USAGE_INPUT in facts or semconv.USAGE_OUTPUT in facts
    return used or (facts.get(semconv.COST_STATUS) == semconv.COST_UNKNOWN and not failed)


def _count(value: object) -> int | None:
    """A number of tokens; None for what is none (programs may set any attribute to anything)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LARGEST_COUNT:
        return None
    return int(value)
