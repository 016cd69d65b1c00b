"""What model calls cost: quantities times rates, and who says what the rates are.

    book = load_prices(Path("prices.toml"), aliases={"prod-chat": "azure/gpt-4o"})
    contract = book.contract(["azure/prod-chat", "prod-chat"], tenant="acme")
    usd = cost_of(Billed(input=1000, cache_read=200, output=50), Rates(entry, tokens=1000))

Nothing here knows litellm, a span or a provider's wire format. All arithmetic is decimal.
"""

from otel_llm.pricing.book import NO_PRICES, Contract, PriceBook
from otel_llm.pricing.calculation import Billed, cost_of
from otel_llm.pricing.files import load_prices
from otel_llm.pricing.rates import Rates

__all__ = ["NO_PRICES", "Billed", "Contract", "PriceBook", "Rates", "cost_of", "load_prices"]
