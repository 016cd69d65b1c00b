"""What a call leaves behind goes as soon as nobody needs it, without Python's collector of cycles."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import litellm
import pytest

from tests.unit.instrumentation.calls import CALLS, MESSAGES, arguments, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_llm.testing import FakeProvider
    from tests.unit.instrumentation.recorded import Spans

OFTEN = 5


def left_for_the_collector(call: Callable[[], object], spans: Spans) -> set[str]:
    """Classes of the recorder of which objects in cycles were left after a few calls, and after a few more.

    litellm holds on to streams of earlier tests, with what recorded them, and may let go of those meanwhile: once.
    """
    left = _left_once(call, spans)
    return left and left & _left_once(call, spans)


def _left_once(call: Callable[[], object], spans: Spans) -> set[str]:
    call()
    spans.settle()
    gc.collect()
    gc.disable()
    try:
        for _ in range(OFTEN):
            call()
        spans.settle()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        kinds = [f"{type(found).__module__}.{type(found).__name__}" for found in gc.garbage]
        return {kind for kind in kinds if kind.startswith("otel_llm.instrumentation") and kinds.count(kind) >= OFTEN}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("name", CALLS)
def test_a_call_leaves_no_cycles(name: str, provider: FakeProvider, full_spans: Spans) -> None:
    """Whatever is called: a cycle would keep request and answer until a collection, and bring one about."""
    assert (
        left_for_the_collector(lambda: run(getattr(litellm, name), **arguments(CALLS[name], provider)), full_spans)
        == set()
    )


def test_a_failed_call_leaves_nothing_to_its_error(full_spans: Spans) -> None:
    """The error's traceback has our frame in it, and that holds nothing of the recording."""

    def fail() -> None:
        with pytest.raises(litellm.exceptions.InternalServerError):
            litellm.completion(model="openai/gpt-4o-mini", messages=MESSAGES, mock_response=Exception("no"))

    assert left_for_the_collector(fail, full_spans) == set()
