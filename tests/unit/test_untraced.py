"""Within `untraced`, instrumentations of others record nothing of ours."""

from __future__ import annotations

import threading

from opentelemetry.instrumentation import utils

from otel_llm.untraced import untraced


def test_what_upstream_asks_says_no_within_and_yes_around() -> None:
    """Its context is the one that upstream's own helpers make, with the name that older instrumentations look for."""
    assert utils.is_instrumentation_enabled()
    assert utils.is_http_instrumentation_enabled()
    with untraced():
        assert not utils.is_instrumentation_enabled()
        assert not utils.is_http_instrumentation_enabled()
        ours = utils.context.get_current()
    with utils.suppress_instrumentation(), utils.suppress_http_instrumentation():
        assert dict(utils.context.get_current()) == dict(ours)
    assert utils.is_instrumentation_enabled()
    assert utils.is_http_instrumentation_enabled()


def test_other_threads_are_traced_meanwhile() -> None:
    """It holds for the thread that is in it."""
    seen: list[bool] = []
    with untraced():
        thread = threading.Thread(target=lambda: seen.append(utils.is_instrumentation_enabled()))
        thread.start()
        thread.join(10)
    assert seen == [True]
