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
    """A batch is at hand for its row and under its own id, until it was answered for."""
    at_hand = SpansAtHand()
    at_hand.keep(1, batch("a"))
    found = at_hand.batch(1, "a")
    assert found is not None
    assert found.spans == ("span of a",)
    assert at_hand.batch(2, "a") is None
    assert at_hand.batch(1, "of another process") is None
    at_hand.answered(1)
    at_hand.answered(1)
    assert at_hand.batch(1, "a") is None


def test_the_next_ones_stay_when_there_is_too_much() -> None:
    """No more bytes are at hand than allowed; what came first is taken next, so it stays, but not for ever."""
    at_hand = SpansAtHand(most_bytes=25)
    for row in range(4):
        at_hand.keep(row, batch(str(row)), now=100.0 + row)
    assert [at_hand.batch(row, str(row)) is not None for row in range(4)] == [True, True, False, False]
    at_hand.keep(8, batch("8", size=26), now=105.0)
    assert at_hand.batch(8, "8") is None
    at_hand.keep(
        9, batch("9"), now=110.5
    )  # nobody has taken the first one by now, and the second one is still waited for
    assert [at_hand.batch(row, str(row)) is not None for row in (0, 1, 9)] == [False, True, True]


def test_less_is_at_hand_while_nobody_answers() -> None:
    """Only as long as backends answer is there room for more than a little; then what nobody takes gives way."""
    at_hand = SpansAtHand(most_bytes=45, most_unanswered=15)

    def kept() -> list[int]:
        return [row for row in range(20) if at_hand.batch(row, str(row)) is not None]

    for row in range(3):
        at_hand.keep(row, batch(str(row)), now=100.0)
    assert kept() == [0]
    at_hand.answered(0, now=101.0)
    for row in range(3, 9):
        at_hand.keep(row, batch(str(row)), now=102.0)
    assert kept() == [3, 4, 5, 6]
    at_hand.keep(9, batch("9"), now=112.5)
    assert kept() == [9]


def test_what_is_at_hand_is_not_read(tmp_path: Path) -> None:
    """A batch that this process has just stored goes out as it is; another process reads and checks the bytes."""
    log = SpoolLog(tmp_path / "log.db", SpoolSettings())
    log.append([(batch("a"), ("opik",))], "origin")
    log.connection.execute("UPDATE batches SET payload = x'00'")
    parcel = log.take("opik", 1000)
    assert parcel is not None
    assert (parcel.batch.payload, parcel.batch.spans) == (b"x" * 10, ("span of a",))
    assert SpoolLog(tmp_path / "log.db", SpoolSettings()).take("opik", 1000) is None


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
