"""The accuracy table: provider x feature -> how many cases are right of how many compared.

python -m tests.recordings.report              # the table, in Markdown
python -m tests.recordings.report --wrong      # what differs, case by case
"""

from __future__ import annotations

import os
import sys
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from tests.recordings import oracle
from tests.recordings.compare import Comparison, compare
from tests.recordings.faults import fault_in
from tests.recordings.recordings import Exchange, exchanges
from tests.recordings.untakeable import why_untakeable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["compared_cases", "row_of", "table", "wrong"]

Case = tuple[Exchange, list[Comparison]]


def compared_cases(chosen: Iterable[Exchange] | None = None) -> Iterator[Case]:
    """Call every exchange that litellm can take (or those that are `chosen`), with the recorder on, and compare."""
    from tests.recordings.calls import call_of
    from tests.recordings.harness import Recording
    from tests.recordings.provider import Provider

    with Provider() as provider, Recording() as recording:
        for exchange in exchanges() if chosen is None else chosen:
            if why_untakeable(exchange) is None:
                with provider.playing(exchange):
                    recorded = recording.of(call_of(exchange, provider).run)
                yield exchange, compare(exchange, recorded.llm_span, provider.port)


def row_of(exchange: Exchange) -> str:
    """Name of the table's row: provider, API, and whether it is streamed."""
    asked = oracle.asking(exchange)
    return f"{asked.provider} {exchange.api}{' (stream)' if asked.stream else ''}"


def table(cases: Iterable[Case]) -> str:
    """A Markdown table; `3/4` is right/compared, `+1` more are as wrong as litellm makes them.

    Only what the recording says is counted, and what the span says without it.
    """
    right: defaultdict[str, Counter[str]] = defaultdict(Counter)
    compared: defaultdict[str, Counter[str]] = defaultdict(Counter)
    unobservable: defaultdict[str, Counter[str]] = defaultdict(Counter)
    features: dict[str, None] = {}
    for exchange, comparisons in cases:
        row = row_of(exchange)
        for one in comparisons:
            if one.expected in (None, "", [], (), {}) and one.got in (None, "", [], (), {}):
                continue
            features[one.feature] = None
            counts = compared if one.difference is None or not one.is_right else unobservable
            counts[row][one.feature] += 1
            right[row][one.feature] += one.difference is None and one.is_right
    lines = [" | ".join(["provider and API", *features]), " | ".join(["---"] * (len(features) + 1))]
    for row in sorted({*compared, *unobservable}):
        cells = [_cell(right[row][name], compared[row][name], unobservable[row][name]) for name in features]
        lines.append(" | ".join([row, *cells]))
    return "\n".join(f"| {line} |" for line in lines)


def _cell(right: int, compared: int, unobservable: int) -> str:
    shown = f"{right}/{compared}" if compared else ""
    return f"{shown} +{unobservable}".strip() if unobservable else shown


def wrong(cases: Iterable[Case]) -> Iterator[str]:
    """One line per feature that is not right."""
    for exchange, comparisons in cases:
        for one in comparisons:
            if not one.is_right:
                fault = fault_in(exchange, one.feature)
                yield f"{exchange.id}: {one}{f' (known fault: {fault})' if fault else ''}"


def main() -> None:
    """Print the table, or with `--wrong` what differs."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    if "--wrong" in sys.argv[1:]:
        for line in wrong(compared_cases()):
            print(line)
    else:
        print(table(compared_cases()))


if __name__ == "__main__":
    main()
