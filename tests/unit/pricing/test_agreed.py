"""Prices that the user agreed: the file, what is wrong with it, and which entry holds."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from otel_llm.config import load
from otel_llm.errors import ConfigError
from otel_llm.pricing import NO_PRICES, Billed, Rates, cost_of, load_prices
from otel_llm.pricing.rows import row_for

if TYPE_CHECKING:
    from pathlib import Path

TOML = """
[models."gpt-4o"]
input_per_million = 2.5
cache_write_1h_per_million = 0.1

[deployments."azure/prod-chat"]
base = "gpt-4.1"
multiplier = 0.9

[tenants.acme]
multiplier = 1.2

[tenants.acme.models."gpt-4.1"]
input_cost_per_token = 3e-6
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of prices."""
    path = tmp_path / "prices.toml"
    path.write_text(TOML)
    return path


def test_prices_per_million_are_exact(file: Path) -> None:
    """A price per million becomes the table's price per token, without a digit of float noise."""
    rates = load_prices(file).models["gpt-4o"].rates
    assert rates == {
        "input_cost_per_token": Decimal("0.0000025"),
        "cache_creation_input_token_cost_above_1hr": Decimal("1E-7"),
    }


def test_json_reads_as_toml_does(file: Path, tmp_path: Path) -> None:
    """The same prices written as JSON make the same book."""
    same = tmp_path / "prices.json"
    same.write_text(json.dumps({"models": {"gpt-4o": {"input_per_million": 2.5, "cache_write_1h_per_million": 0.1}}}))
    assert load_prices(same).models == load_prices(file).models


def test_what_holds_for_a_call(file: Path) -> None:
    """A tenant's own entry goes first, as written; then deployments, then models, times the tenant's multiplier."""
    book = load_prices(file, aliases={"team-chat": "gpt-4o"})
    own = book.contract(["gpt-4.1"], tenant="acme")
    deployment = book.contract(["azure/prod-chat", "prod-chat"], ["azure/gpt-4o"], tenant="acme")
    alias = book.contract(["openai/team-chat", "team-chat"])
    anything = book.contract(["claude"], tenant="acme")
    assert own is not None
    assert (own.price, own.multiplier) == (book.tenants["acme"].models["gpt-4.1"], 1)
    assert deployment is not None
    assert (deployment.price, deployment.multiplier) == (book.deployments["azure/prod-chat"], Decimal("1.08"))
    assert alias is not None
    assert (alias.price, alias.multiplier) == (book.models["gpt-4o"], 1)
    assert anything is not None
    assert (anything.price, anything.multiplier) == (None, Decimal("1.2"))
    assert book.contract(["claude"], tenant="other") is None


def test_a_deployment_is_known_by_what_was_asked(file: Path) -> None:
    """A deployment's price does not hold for a call that merely was answered under that name."""
    assert load_prices(file).contract(["claude"], ["azure/prod-chat"]) is None


def test_the_default_tenant_has_its_contract(file: Path) -> None:
    """Calls for which nobody named a tenant are priced as those of the default tenant."""
    contract = load_prices(file, default_tenant="acme").contract(["claude"])
    assert contract is not None
    assert contract.multiplier == Decimal("1.2")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[models", "is not TOML"),
        ('[model."gpt-4o"]\ninput_per_million = 1', "model is not known; known are deployments, models, tenants"),
        ('[models."gpt-4o"]\ninput_per_milion = 1', "did you mean 'input_per_million'?"),
        ('[models."gpt-4o"]\ninput_per_million = -1', "input_per_million is not a price in USD"),
        ('[models."gpt-4o"]\ninput_per_million = "1"', "input_per_million is not a price in USD"),
        ('[models."gpt-4o"]\ninput_per_million = nan', "input_per_million is not a price in USD"),
        ('[models."gpt-4o"]', "says nothing"),
        ('[models."gpt-4o"]\nbase = 4', "base is not the name of a model"),
        ('[models."gpt-4o"]\ninput_per_million = 1\ninput_cost_per_token = 1', "is given twice"),
        ("[tenants.acme]\nmultiplier = true", "multiplier is not a number"),
        ("models = 1", "is not a table"),
    ],
)
def test_a_wrong_file_is_told_at_the_start(text: str, said: str, tmp_path: Path) -> None:
    """Each mistake is a ConfigError that names the file and what is wrong."""
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_prices(path)
    assert said in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """A file that does not exist is a ConfigError, not a silent return to the table's prices."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load_prices(tmp_path / "nowhere.toml")


def test_what_is_given_goes_before_the_file_entry_by_entry(file: Path) -> None:
    """Prices of the settings replace entries of the file by name; all others, of a tenant too, stay."""
    given = {
        "models": {"gpt-4o": {"output_per_million": 1}, "o3": {"input_per_million": 4}},
        "tenants": {"acme": {"multiplier": 1}, "new": {"multiplier": 2}},
    }
    book, alone = load_prices(file, given), load_prices(file)
    assert book.models["gpt-4o"].rates == {"output_cost_per_token": Decimal("0.000001")}
    assert set(book.models) == {"gpt-4o", "o3"}
    assert book.deployments == alone.deployments
    assert book.tenants["acme"].models == alone.tenants["acme"].models
    assert (book.tenants["acme"].multiplier, book.tenants["new"].multiplier) == (1, 2)
    assert load_prices(file, {"tenants": {"acme": {}}}).tenants["acme"] == alone.tenants["acme"]


def test_the_same_prices_by_environment_file_and_argument(tmp_path: Path) -> None:
    """`OTEL_LLM_PRICES` as JSON, `[prices.models]` in otel-llm.toml, and `configure(prices=...)` are one setting."""
    (tmp_path / "otel-llm.toml").write_text('[prices.models."gpt-4o"]\ninput_per_million = 0.1\n')
    table = {"models": {"gpt-4o": {"input_per_million": 0.1}}}
    configs = [
        load(environ={"OTEL_LLM_PRICES": json.dumps(table)}, directory=tmp_path),
        load(environ={}, directory=tmp_path),
        load({"prices": table}, environ={}),
    ]
    books = [load_prices(None, config.prices) for config in configs]
    assert [book.models["gpt-4o"].rates for book in books] == [{"input_cost_per_token": Decimal("1E-7")}] * 3
    shown = next(one for one in configs[0].explain() if one.name == "prices")
    assert (json.loads(shown.text), shown.source) == (
        {"models": {"gpt-4o": {"input_per_million": "0.1"}}},
        "environment OTEL_LLM_PRICES",
    )


@pytest.mark.parametrize("text", ["{", "[]", "4", '"models"', "models=1", "[" * 100_000])
def test_prices_that_are_no_table_are_told_at_the_start(text: str) -> None:
    """What is no JSON object is a ConfigError that names the variable."""
    with pytest.raises(ConfigError, match="OTEL_LLM_PRICES"):
        load(environ={"OTEL_LLM_PRICES": text})


def test_a_wrong_entry_in_the_environment_is_told_by_its_name() -> None:
    """A misspelt price is a ConfigError that names the setting and the entry, as in a file."""
    with pytest.raises(ConfigError, match=r"^prices: models.gpt-4o: .*did you mean 'input_per_million'"):
        load_prices(None, {"models": {"gpt-4o": {"input_per_milion": 1}}})


# --- rates ---------------------------------------------------------------------------------------------------


def test_what_has_no_price_makes_the_cost_unknown() -> None:
    """A cost is None, never a part of it, where something that was used has no price."""
    assert cost_of(Billed(input=10, output=1), Rates({"input_cost_per_token": 1e-6})) is None
    assert cost_of(Billed(characters=5), Rates({"input_cost_per_token": 1e-6})) is None
    assert cost_of(Billed(input=10), Rates({})) is None


def test_cached_tokens_without_a_price_are_ordinary_input() -> None:
    """No token is free for want of a price of its own."""
    rates = Rates({"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6})
    billed = Billed(input=10, cache_read=5, cache_write=2, output=4, reasoning=4)
    assert cost_of(billed, rates) == Decimal("0.000018")


def test_kinds_larger_than_the_whole_are_cut_to_it() -> None:
    """A report that claims more cached tokens than tokens never makes a negative cost."""
    rates = Rates({"input_cost_per_token": 4e-6, "cache_read_input_token_cost": 1e-6})
    assert cost_of(Billed(input=10, cache_read=99, audio_input=99), rates) == Decimal("0.00001")


def test_variants_combine() -> None:
    """Where the table has no price for a tier beyond a threshold, the ratios of both apply."""
    row = {
        "input_cost_per_token": 2e-6,
        "input_cost_per_token_flex": 1e-6,
        "input_cost_per_token_above_200k_tokens": 4e-6,
        "input_cost_per_audio_token": 6e-6,
    }
    billed = Billed(input=300_000, audio_input=300_000)
    assert cost_of(Billed(input=300_000), Rates(row, tokens=300_000, tier="flex")) == Decimal("0.6")
    assert cost_of(billed, Rates(row, tokens=300_000, tier="flex")) == Decimal("1.8")


@pytest.mark.parametrize(("reaches", "usd"), [(False, "0.4"), (True, "0.8")])
def test_some_providers_count_the_threshold_itself(reaches: bool, usd: str) -> None:
    """At exactly the threshold the ordinary price holds, save where a provider counts from it on."""
    row = {"input_cost_per_token": 2e-6, "input_cost_per_token_above_200k_tokens": 4e-6}
    assert cost_of(Billed(input=200_000), Rates(row, tokens=200_000, reaches=reaches)) == Decimal(usd)


def test_the_highest_threshold_holds() -> None:
    """Of several thresholds the highest that the prompt is beyond decides, however many digits they have."""
    row = {
        "input_cost_per_token": 1e-6,
        "input_cost_per_token_above_32k_tokens": 2e-6,
        "input_cost_per_token_above_128k_tokens": 3e-6,
    }
    assert cost_of(Billed(input=200_000), Rates(row, tokens=200_000)) == Decimal("0.6")


def test_a_threshold_without_a_price_is_none() -> None:
    """A higher threshold that the row names without a price, as litellm's Router leaves it, hides no lower one."""
    row = {
        "input_cost_per_token": 1e-6,
        "input_cost_per_token_above_128k_tokens": 3e-6,
        "input_cost_per_token_above_200k_tokens": None,
    }
    assert cost_of(Billed(input=300_000), Rates(row, tokens=300_000)) == Decimal("0.9")


def test_a_row_without_a_price_is_none() -> None:
    """A row that says nothing about money, as litellm's Router makes for a deployment's name, hides none that does."""
    priced = {"litellm_provider": "openai", "input_cost_per_token": 1e-6}
    table = {"openai/team-chat": {"id": "1f", "input_cost_per_token": None}, "gpt-4o-mini": priced}
    assert row_for(table, NO_PRICES, "openai", ["openai/team-chat"], ["gpt-4o-mini"]) is priced
