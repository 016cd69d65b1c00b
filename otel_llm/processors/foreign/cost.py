"""What a foreign call cost: by the user's prices, else by the table, else by what its instrumentation says.

The same rules and statuses as for litellm's calls (docs/cost.md), out of what stands on the span. A price that is not
known stays unknown; a call whose tokens nobody counted has no cost either.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.trace import StatusCode

from otel_llm import semconv
from otel_llm.pricing import Billed, Rates, cost_of
from otel_llm.pricing.rows import XAI, goes_by_the_hour, is_free, names_for, row_for, sellers, tier_named
from otel_llm.pricing.unpriced import Unpriced
from otel_llm.processors.foreign.words import parsed, token_count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from otel_llm.pricing import Contract, PriceBook
    from otel_llm.pricing.rows import PriceTable
    from otel_llm.processors.draft import SpanDraft

__all__ = ["ForeignCost"]

_Facts = dict[str, Any]

_THEIRS: Final = (semconv.COST, semconv.OI_COST, semconv.LOGFIRE_COST, semconv.LITELLM_TOTAL_COST)
"""Where instrumentations put a cost of their own."""
_TOTALS: Final = (semconv.GEN_A_TOTAL_TOKENS, semconv.TRACELOOP_TOTAL_TOKENS)
_PLAIN_TOOLS: Final = frozenset({"function", "custom"})


class _Names(NamedTuple):
    """Who sold a call, and what the model is called, as the table spells it."""

    seller: str | None
    asked: list[str]
    served: list[str]


class ForeignCost:
    """Puts a cost on a span. `table` gives the price table when it is needed; `book` is what the user has agreed."""

    def __init__(self, book: PriceBook, table: Callable[[], PriceTable]) -> None:
        self._book = book
        self._table = table
        self.unpriced = Unpriced()

    def __call__(self, draft: SpanDraft) -> None:
        """Price one call, in place; a failed one that used nothing has no cost to speak of."""
        facts = draft.attributes
        billed = _billed(facts)
        partial = _is_partial(facts, billed)
        theirs = _said(facts)
        for name in (*_THEIRS, *_TOTALS):
            facts.pop(name, None)
        if not billed.has_tokens:
            if draft.status.status_code is not StatusCode.ERROR:
                facts[semconv.COST_STATUS] = semconv.COST_UNKNOWN
            return
        usd, status = self._price(facts, billed, theirs)
        if usd is None:
            self.unpriced.note(facts.get(semconv.RESPONSE_MODEL) or facts.get(semconv.REQUEST_MODEL))
        else:
            facts[semconv.COST] = float(usd)
        facts[semconv.COST_STATUS] = semconv.COST_ESTIMATED if partial and status == semconv.COST_PRICED else status

    def _price(self, facts: _Facts, billed: Billed, theirs: Decimal | None) -> tuple[Decimal | None, str]:
        names = _names(facts)
        tier = tier_named(str(facts.get(semconv.OPENAI_RESPONSE_SERVICE_TIER, "")))
        contract = self._book.contract(names.asked, names.served, tenant=facts.get(semconv.TENANT_ID))
        if contract is not None and contract.price is not None:
            agreed = self._agreed(contract, names, billed, tier)
            if agreed is not None:
                return agreed, semconv.COST_OVERRIDDEN
        usd, status = self._listed(facts, names, billed, tier, theirs)
        if contract is not None and contract.otherwise != 1 and usd is not None:
            return usd * contract.otherwise, semconv.COST_OVERRIDDEN
        return usd, status

    def _listed(
        self, facts: _Facts, names: _Names, billed: Billed, tier: str | None, theirs: Decimal | None
    ) -> tuple[Decimal | None, str]:
        row = row_for(self._table(), self._book, names.seller, names.asked, names.served)
        ours = _calculated(row, names, billed, tier)
        if ours:
            unsure = row is not None and goes_by_the_hour(row)
            return ours, semconv.COST_ESTIMATED if unsure or _has_extras(facts) else semconv.COST_PRICED
        if is_free(row):
            return Decimal(0), semconv.COST_FREE
        if theirs:
            return theirs, semconv.COST_ESTIMATED
        return None, semconv.COST_UNKNOWN

    def _agreed(self, contract: Contract, names: _Names, billed: Billed, tier: str | None) -> Decimal | None:
        """USD by the user's own row. One that only multiplies does so to the row of the model that was called."""
        agreed = contract.price
        assert agreed is not None
        row: Mapping[str, Any] = {}
        if agreed.base is not None:
            row = self._table().get(agreed.base) or {}
        elif not agreed.rates:
            row = row_for(self._table(), self._book, names.seller, names.asked, names.served) or {}
        cost = _calculated({**row, **agreed.rates}, names, billed, tier)
        return cost * contract.multiplier if cost is not None else None


def _calculated(row: Mapping[str, Any] | None, names: _Names, billed: Billed, tier: str | None) -> Decimal | None:
    if row is None:
        return None
    return cost_of(billed, Rates(row, tokens=billed.input, tier=tier, reaches=names.seller == XAI))


def _names(facts: _Facts) -> _Names:
    """The names a call goes by: under each name that the table may have for its seller."""
    said = sellers(facts.get(semconv.PROVIDER_NAME))
    model, answered = facts.get(semconv.REQUEST_MODEL), facts.get(semconv.RESPONSE_MODEL)
    asked = [name for seller in said for name in names_for(seller, model, first=(model,))]
    served = [name for seller in said for name in names_for(seller, answered)]
    return _Names(said[0], list(dict.fromkeys(asked)), list(dict.fromkeys(served)))


def _billed(facts: _Facts) -> Billed:
    def count(name: str) -> int:
        return token_count(facts.get(name)) or 0

    return Billed(
        input=count(semconv.USAGE_INPUT),
        cache_read=count(semconv.USAGE_CACHE_READ),
        audio_cache_read=count(semconv.USAGE_AUDIO_CACHE_READ),
        cache_write=count(semconv.USAGE_CACHE_WRITE),
        audio_input=count(semconv.USAGE_AUDIO_INPUT),
        image_input=count(semconv.USAGE_IMAGE_INPUT),
        output=count(semconv.USAGE_OUTPUT),
        reasoning=count(semconv.USAGE_REASONING),
        audio_output=count(semconv.USAGE_AUDIO_OUTPUT),
        image_output=count(semconv.USAGE_IMAGE_OUTPUT),
    )


def _is_partial(facts: _Facts, billed: Billed) -> bool:
    """Whether the instrumentation says more tokens in total than it says of each kind."""
    total = max(token_count(facts.get(name)) or 0 for name in _TOTALS)
    return total > billed.input + billed.output


def _said(facts: _Facts) -> Decimal | None:
    for name in _THEIRS:
        value = facts.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
            return Decimal(repr(value))
    return None


def _has_extras(facts: _Facts) -> bool:
    """Whether the provider was asked to run a tool of its own, which it may bill apart; seen where content is on."""
    tools = parsed(facts.get(semconv.TOOL_DEFINITIONS))
    return any(
        isinstance(tool, dict) and tool.get("type") not in _PLAIN_TOOLS
        for tool in (tools if isinstance(tools, list) else ())
    )
