"""The prices that the user has agreed with providers and tenants: they go before any table.

For one call there is at most one `Contract`: a row of rates, a multiplier, or both. It is looked for in this
order, and the first that is found holds: the tenant's deployments, the tenant's models, deployments, models. A
tenant's own row is meant as written; the tenant's multiplier applies to prices that come from anywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from otel_llm.pricing.rates import Entry

__all__ = ["NO_PRICES", "AgreedPrice", "Contract", "PriceBook", "TenantPrices"]


@dataclass(frozen=True, slots=True)
class AgreedPrice:
    """One row of the user's file."""

    rates: Entry = field(default_factory=dict)
    """Under the table's names; what is given here replaces what `base` says."""
    base: str | None = None
    """A model of the table whose rates hold where this row says nothing."""
    multiplier: Decimal = Decimal(1)


_Rows: TypeAlias = Mapping[str, AgreedPrice]


@dataclass(frozen=True, slots=True)
class TenantPrices:
    """What was agreed with one tenant."""

    models: _Rows = field(default_factory=dict)
    deployments: _Rows = field(default_factory=dict)
    multiplier: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Contract:
    """What was agreed for one call."""

    price: AgreedPrice | None
    """None: the price is the table's (or the provider's own figure), and only the multiplier was agreed."""
    multiplier: Decimal = Decimal(1)
    otherwise: Decimal = Decimal(1)
    """The multiplier where `price` does not hold, because it lacks the price of something that was used."""


@dataclass(frozen=True, slots=True)
class PriceBook:
    """Everything that was agreed, and which model stands behind which deployment name."""

    models: _Rows = field(default_factory=dict)
    deployments: _Rows = field(default_factory=dict)
    tenants: Mapping[str, TenantPrices] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Deployment name -> name of the model in the table whose price it has."""
    default_tenant: str | None = None
    """The tenant of calls for which nobody named one."""

    def model_behind(self, names: Sequence[str]) -> str | None:
        """The model that a deployment, known by any of `names`, is an alias of; None where it is none."""
        if not self.aliases:
            return None
        return next((self.aliases[name] for name in names if name in self.aliases), None)

    def contract(
        self, asked: Sequence[str], served: Sequence[str] = (), *, tenant: str | None = None
    ) -> Contract | None:
        """What was agreed for a call; None where nothing was.

        `asked` are the names that the call was made under, best first (a deployment goes by these), `served` those
        that the answer gives.
        """
        if not (self.models or self.deployments or self.tenants):
            return None
        agreed = self.tenants.get(tenant or self.default_tenant or "") or _NOTHING_AGREED
        behind = self.model_behind(asked)
        models = (*asked, *((behind,) if behind else ()), *served)
        everywhere = Decimal(1) if agreed.multiplier is None else agreed.multiplier
        own = _first(agreed.deployments, asked) or _first(agreed.models, models)
        if own is not None:
            return Contract(own, own.multiplier, everywhere)
        price = _first(self.deployments, asked) or _first(self.models, models)
        if price is not None:
            return Contract(price, price.multiplier * everywhere, everywhere)
        return Contract(None, everywhere, everywhere) if everywhere != 1 else None


_NOTHING_AGREED: Final = TenantPrices()
NO_PRICES: Final = PriceBook()
"""Nothing is agreed: the table's prices hold."""


def _first(rows: _Rows, names: Sequence[str]) -> AgreedPrice | None:
    if not rows:
        return None
    return next((rows[name] for name in names if name in rows), None)
