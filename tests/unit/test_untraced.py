"""Within `untraced`, instrumentations of others record nothing of ours."""

from __future__ import annotations

import threading

from opentelemetry.instrumentation import utils

from otel_llm.untraced import is_untraced, untraced


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


def test_what_upstreams_helpers_suppress_is_untraced() -> None:
    """Whether anything is to be recorded is answered as upstream answers it, for requests and for all else."""
    assert not is_untraced(utils.context.get_current(), http=True)
    with utils.suppress_http_instrumentation():
        assert is_untraced(utils.context.get_current(), http=True)
        assert not is_untraced(utils.context.get_current())
    for within in (utils.suppress_instrumentation(), untraced()):
        with within:
            assert is_untraced(utils.context.get_current())
            assert is_untraced(utils.context.get_current(), http=True)
    older = utils.context.set_value("suppress_instrumentation", value=True)
    assert is_untraced(older)


def test_other_threads_are_traced_meanwhile() -> None:
    """It holds for the thread that is in it."""
    seen: list[bool] = []
    with untraced():
        thread = threading.Thread(target=lambda: seen.append(utils.is_instrumentation_enabled()))
        thread.start()
        thread.join(10)
    assert seen == [True]
