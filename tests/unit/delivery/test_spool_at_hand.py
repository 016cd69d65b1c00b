"""Spans beside their bytes: at hand for who delivers at once, bounded, and never another batch's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_llm.contracts import Batch
from otel_llm.delivery.spool_at_hand import SpansAtHand
from otel_llm.delivery.spool_log import SpoolLog
from otel_llm.delivery.spool_types import SpoolSettings

if TYPE_CHECKING:
    from pathlib import Path


def batch(name: str, size: int = 10) -> Batch:
    """A batch whose spans are stand-ins."""
    spans: Any = (f"span of {name}",)
    return Batch(b"x" * size, 1, id=name, spans=spans)


def test_what_is_kept_comes_with_what_is_read() -> None:
    """A batch read from a row has the spans that were stored in it, and none after it was answered for."""
    at_hand = SpansAtHand()
    at_hand.keep(1, batch("a"))
    stored = Batch(b"x" * 10, 1, id="a")
    assert at_hand.with_spans(1, stored).spans == ("span of a",)
    assert at_hand.with_spans(2, stored).spans == ()
    assert at_hand.with_spans(1, Batch(b"x", 1, id="of another process")).spans == ()
    at_hand.forget(1)
    at_hand.forget(1)
    assert at_hand.with_spans(1, stored).spans == ()


def test_the_oldest_go_when_there_is_too_much() -> None:
    """No more bytes are at hand than allowed, and a single batch that is larger is not either."""
    at_hand = SpansAtHand(most_bytes=25)
    for row in range(4):
        at_hand.keep(row, batch(str(row)))
    assert [bool(at_hand.with_spans(row, Batch(b"", 1, id=str(row))).spans) for row in range(4)] == [
        False,
        False,
        True,
        True,
    ]
    at_hand.keep(9, batch("9", size=26))
    assert at_hand.with_spans(9, Batch(b"", 1, id="9")).spans == ()


def test_a_parcel_has_spans_only_if_all_its_batches_have(tmp_path: Path) -> None:
    """Batches put together come with all their spans in order, or with none."""
    log = SpoolLog(tmp_path / "log.db", SpoolSettings())
    log.append([(batch("a"), ("opik",)), (batch("b"), ("opik",))], "origin")
    parcel = log.take("opik", 1000)
    assert parcel is not None
    assert parcel.batch.spans == ("span of a", "span of b")
    log.append([(Batch(b"x", 1, id="c"), ("opik",))], "origin")
    parcel = log.take("opik", 1000)
    assert parcel is not None
    assert (parcel.batch.span_count, parcel.batch.spans) == (3, ())
    log.settle("opik", parcel, [])
    log.append([(batch("d"), ("opik",))], "origin")
    parcel = log.take("opik", 1000)
    assert parcel is not None
    assert parcel.batch.spans == ("span of d",)
    log.close()
