"""What a call cost, whose figure that is, and how sure it is.

In this order: what the user agreed (`prices`, `prices_file`), what the provider itself says it charged, our calculation
from the table that ships with litellm, litellm's own figure. Ours goes before litellm's because litellm's is
wrong in places (docs/cost.md lists them); litellm's is taken wherever a call has parts that ours does not know.

A price that is not known stays unknown: litellm answers 0.0 both for a free model and for one it has no
price for, so a zero is believed only where a table says that the model is free.
"""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otel_llm import semconv
from otel_llm.faults import let_through
from otel_llm.instrumentation.litellm.charges import (
    billed_of,
    has_extras,
    has_unpriced_searches,
    own_figure,
    service_tier_of,
)
from otel_llm.instrumentation.litellm.forms import BATCH
from otel_llm.instrumentation.litellm.guest import guest
from otel_llm.instrumentation.litellm.reading import get, hidden_of, members_of, number, path, text
from otel_llm.pricing import NO_PRICES, Billed, Contract, PriceBook, Rates, cost_of
from otel_llm.pricing.rates import INPUT
from otel_llm.pricing.rows import XAI, goes_by_size, goes_by_the_hour, is_free, names_for, row_for
from otel_llm.pricing.unpriced import Unpriced

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otel_llm.instrumentation.litellm.request import Request
    from otel_llm.instrumentation.litellm.usage import Usage
    from otel_llm.instrumentation.recorder import Recording

__all__ = ["fill_cost", "price", "unknown_prices", "use_prices"]

_logger = logging.getLogger(__name__)

_ASKED_ABOUT: Final = frozenset({"ollama", "ollama_chat"})
"""Providers whose server litellm asks for a model that its table lacks: pricing must not touch the network."""


class Price(NamedTuple):
    """What a call cost in USD (None: unknown), and how that is known (a value of `otel_llm.cost.status`)."""

    usd: Decimal | None
    status: str


class _State:
    """The user's prices, and the calls whose price is unknown. One per process, as litellm is."""

    def __init__(self) -> None:
        self.book: PriceBook = NO_PRICES
        self.unpriced = Unpriced()


_state = _State()


def use_prices(book: PriceBook) -> None:
    """Price calls by `book` from now on, and begin to count unknown prices anew."""
    _state.book, _state.unpriced = book, Unpriced()


def unknown_prices() -> dict[str, int]:
    """Model -> calls that were recorded without a cost because nobody knows its price."""
    return _state.unpriced.counts()


def fill_cost(
    recording: Recording, request: Request, answer: object, usage: Usage | None, billed: Usage | None
) -> None:
    """Put cost (USD) and how it is known on the span; an unknown cost leaves no number behind.

    An answer out of the response cache cost nothing, and the span says what was saved; so it does where a part came
    out of the cache, and the rest was paid for.
    """
    tenant = recording.identity.tenant
    if recording.attributes.get(semconv.CACHE_HIT) is True:
        saved = price(request, answer, usage, tenant=tenant, fresh=False).usd
        recording.set({semconv.COST: 0.0, semconv.COST_STATUS: semconv.COST_CACHE_HIT})
        recording.set({semconv.COST_SAVED: float(saved) if saved else None})
        return
    bought = answer if request.bought is None else request.bought
    found = price(request, bought, billed, tenant=tenant)
    if request.bought is not None:
        whole, part = (
            price(request, *of, tenant=tenant, fresh=False).usd for of in ((answer, usage), (bought, billed))
        )
        recording.set({semconv.COST_SAVED: float(whole - part) if whole and part and whole > part else None})
    if found.usd is None:
        has_price = billed is None and _row(request, _names_asked(request), _names_served(request, answer)) is not None
        _state.unpriced.note(text(get(answer, "model")) or request.model, has_price=has_price)
    cost = float(found.usd) if found.usd is not None else None
    recording.set({semconv.COST: cost, semconv.COST_STATUS: found.status})


def price(
    request: Request, answer: object, usage: Usage | None, *, tenant: str | None = None, fresh: bool = True
) -> Price:
    """The price of an answer. With `fresh` false it came out of a cache: litellm's figure of it means nothing."""
    asked, served = _names_asked(request), _names_served(request, answer)
    contract = _state.book.contract(asked, served, tenant=tenant)
    billed = billed_of(request, answer, usage)
    tier = service_tier_of(request, answer)
    if contract is not None and contract.price is not None:
        agreed = _agreed(contract, request, asked, served, billed, tier)
        if agreed is not None:
            return Price(agreed, semconv.COST_OVERRIDDEN)
    found = _listed(request, answer, usage, billed, tier, (asked, served), fresh=fresh)
    if contract is not None and contract.otherwise != 1 and found.usd is not None:
        return Price(found.usd * contract.otherwise, semconv.COST_OVERRIDDEN)
    return found


def _listed(
    request: Request,
    answer: object,
    usage: Usage | None,
    billed: Billed,
    tier: str | None,
    names: tuple[list[str], list[str]],
    *,
    fresh: bool,
) -> Price:
    """The price without anything agreed: the provider's figure, ours, litellm's."""
    own = own_figure(request, answer, usage) if fresh else None
    if own is not None:
        return Price(own, semconv.COST_PRICED)
    status = semconv.COST_ESTIMATED if usage is not None and usage.estimated else semconv.COST_PRICED
    row = _row(request, *names)
    ours = _calculated(row, request, billed, tier)
    theirs_first = _prefers_litellm(row, request, answer) or _is_sold_by_size(row, request, billed)
    if ours and not theirs_first:
        return Price(ours, status)
    if theirs_first and _costs_nothing(request):
        return Price(Decimal(0), semconv.COST_FREE)
    theirs = _litellms(request, answer, served=names[1], fresh=fresh)
    if theirs is not None:
        return Price(theirs, semconv.COST_ESTIMATED if has_unpriced_searches(row, answer) else status)
    if ours:
        # Extras could not be priced by anybody; what could is at least that much.
        return Price(ours, semconv.COST_ESTIMATED)
    if not theirs_first and is_free(row):
        return Price(Decimal(0), semconv.COST_FREE)
    return Price(None, semconv.COST_UNKNOWN)


# --- ours ------------------------------------------------------------------------------------------------


def _calculated(row: Mapping[str, Any] | None, request: Request, billed: Billed, tier: str | None) -> Decimal | None:
    if row is None:
        return None
    reaches = request.provider == XAI  # bills the higher rate from the threshold on
    return cost_of(billed, Rates(row, tokens=billed.input, tier=tier, reaches=reaches))


def _agreed(
    contract: Contract, request: Request, asked: list[str], served: list[str], billed: Billed, tier: str | None
) -> Decimal | None:
    """USD by the user's own row. One that only multiplies does so to the row of the model that was called."""
    agreed = contract.price
    assert agreed is not None
    row: Mapping[str, Any] = {}
    if agreed.base is not None:
        row = _table().get(agreed.base) or {}
    elif not agreed.rates:
        row = _row(request, asked, served) or {}
    cost = _calculated({**row, **agreed.rates}, request, billed, tier)
    return cost * contract.multiplier if cost is not None else None


def _row(request: Request, asked: list[str], served: list[str]) -> Mapping[str, Any] | None:
    return row_for(_table(), _state.book, request.provider, asked, served)


def _table() -> Mapping[str, Any]:
    table = getattr(guest(), "model_cost", None)
    return table if isinstance(table, dict) else {}


def _names_asked(request: Request) -> list[str]:
    """Every name that a call was made under: as the program wrote it, and as litellm resolved it."""
    region = text(request.arguments.get("aws_region_name")) if request.provider == "bedrock" else None
    group = text(path(request.arguments, "metadata", "model_group"))
    return names_for(request.provider, request.model, region, first=(request.requested, group))


def _names_served(request: Request, answer: object) -> list[str]:
    return names_for(request.provider, text(get(answer, "model")))


# --- litellm's ---------------------------------------------------------------------------------------------


def _prefers_litellm(row: Mapping[str, Any] | None, request: Request, answer: object) -> bool:
    """Whether litellm knows something about this call that our calculation does not."""
    if has_extras(request, answer) or _has_own_prices(request) or _is_cheaper_unsaid(row, request):
        return True
    if row is None:
        return False
    base = request.api_base or ""
    return bool(
        goes_by_the_hour(row)
        or (row.get("regional_endpoint_uplift_multiplier") and request.arguments.get("vertex_location") != "global")
        or "://eu." in base
        or "://us." in base
    )


def _is_cheaper_unsaid(row: Mapping[str, Any] | None, request: Request) -> bool:
    """Whether this is a batch of a model whose row has no prices for batches: litellm knows how they are found."""
    return request.form.family == BATCH and (row is None or f"{INPUT}_batches" not in row)


def _is_sold_by_size(row: Mapping[str, Any] | None, request: Request, billed: Billed) -> bool:
    """Whether images were billed by the piece, at a price that depends on what they are like: litellm picks the row."""
    if row is None or not billed.images or billed.has_tokens:
        return False
    return goes_by_size(_table(), row, request.model)


def _has_own_prices(request: Request) -> bool:
    """Whether the program told litellm prices, discounts or margins of its own."""
    library = guest()
    if getattr(library, "cost_discount_config", None) or getattr(library, "cost_margin_config", None):
        return True
    return any(rates[0] is not None or rates[2] is not None for rates in _own_rates(request))


def _costs_nothing(request: Request) -> bool:
    """Whether the program told litellm that the call is free, which litellm's table is not to know better."""
    return any(not any(rates) and (None not in rates[:2] or rates[2] is not None) for rates in _own_rates(request))


def _own_rates(request: Request) -> Iterator[tuple[float | None, ...]]:
    """USD per token in, per token out and per second, wherever the program may have told them; None for not told."""
    arguments = request.arguments
    said_here = None if _OWN_NAMES.isdisjoint(arguments) else arguments
    for source in (said_here, get(arguments.get("metadata"), "model_info"), arguments.get("model_info")):
        if source is not None:
            said = members_of(source)
            yield tuple(number(said(name)) for name in _OWN_RATES)


_OWN_RATES: Final = ("input_cost_per_token", "output_cost_per_token", "input_cost_per_second")
_OWN_NAMES: Final = frozenset(_OWN_RATES)


def _litellms(request: Request, answer: object, *, served: list[str], fresh: bool) -> Decimal | None:
    """Litellm's figure where it has one: the one it put beside the answer, else computed by its function."""
    known = _positive(hidden_of(answer).get("response_cost")) if fresh else None
    if known is not None:
        return known
    library = guest()
    if library is None or answer is None or request.provider in _ASKED_ABOUT:
        return None
    for name in dict.fromkeys((_state.book.model_behind(_names_asked(request)), request.model, *served[-1:])):
        if name is None:
            continue
        try:
            return _positive(
                library.completion_cost(
                    completion_response=getattr(answer, "original", answer),
                    model=name,
                    custom_llm_provider=request.provider,
                    **({"call_type": "retrieve_batch"} if request.form.family == BATCH else {}),
                )
            )
        except Exception as error:  # noqa: BLE001  (litellm raises a bare Exception for a model without a price)
            let_through(error)
            _logger.debug("litellm has no price for %s", name)
    return None


def _positive(value: object) -> Decimal | None:
    found = number(value)
    return Decimal(repr(found)) if found is not None and found > 0 else None
