"""Each rule of the check: what breaks it, and that what is right breaks none."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from otel_llm.conformance import DEVIATIONS, Level, Rule, SpanFacts, check
from otel_llm.conformance.conventions import conventions
from otel_llm.conformance.findings import SOURCES

RIGHT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.request.temperature": 0.5,
    "gen_ai.request.stream": True,
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.cache_read.input_tokens": 4,
    "gen_ai.prompt.variable.city": "Bonn",
    "server.address": "api.openai.com",
    "server.port": 443,
    "openai.response.service_tier": "default",
    "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": "hello"}]}]),
    "tenant.id": "acme",
    "http.response.status_code": 200,
}


def span(more: dict[str, Any] | None = None, *, without: str = "", **facts: Any) -> SpanFacts:
    """A span of a chat that conforms, changed as said."""
    attributes = {**RIGHT, **(more or {})}
    attributes.pop(without, None)
    facts = {"name": "chat gpt-4o-mini", "kind": "client", "schema_url": "https://x/1", "scope": "app", **facts}
    return SpanFacts(attributes=attributes, **facts)


def found(one: SpanFacts) -> list[tuple[Rule, Level, str | None]]:
    """Rule, level and attribute of every finding."""
    return [(finding.rule, finding.level, finding.attribute) for finding in check(one) or ()]


def test_a_span_that_conforms_is_found_right() -> None:
    """Nothing is said about a span that says everything as the conventions do, and things of its own."""
    assert found(span()) == []


@pytest.mark.parametrize("attributes", [{}, {"http.request.method": "GET", "llm.provider": "x", "server.address": "a"}])
def test_a_span_of_something_else_is_not_judged(attributes: dict[str, Any]) -> None:
    """A span without an attribute of the conventions is no GenAI span."""
    assert check(SpanFacts("GET /", "client", attributes)) is None


def test_a_stamp_on_any_span_makes_it_no_operation() -> None:
    """A conversation's or an agent's id on a span of the program needs no operation."""
    stamped = SpanFacts("work", "internal", {"gen_ai.conversation.id": "c", "gen_ai.agent.name": "a"}, schema_url="")
    assert check(stamped) == []
    assert found(replace(stamped, attributes={"gen_ai.conversation.id": 7})) == [
        (Rule.TYPE, Level.VIOLATION, "gen_ai.conversation.id")
    ]


VIOLATIONS: list[tuple[Rule, str, dict[str, Any]]] = [
    (Rule.UNKNOWN_ATTRIBUTE, "gen_ai.usage.cost", {"gen_ai.usage.cost": 0.1}),
    (Rule.UNKNOWN_ATTRIBUTE, "openai.tier", {"openai.tier": "x"}),
    (Rule.TYPE, "gen_ai.request.temperature", {"gen_ai.request.temperature": 1}),
    (Rule.TYPE, "gen_ai.request.temperature", {"gen_ai.request.temperature": float("nan")}),
    (Rule.TYPE, "gen_ai.request.max_tokens", {"gen_ai.request.max_tokens": 10.0}),
    (Rule.TYPE, "gen_ai.request.max_tokens", {"gen_ai.request.max_tokens": True}),
    (Rule.TYPE, "gen_ai.response.finish_reasons", {"gen_ai.response.finish_reasons": '["stop"]'}),
    (Rule.TYPE, "gen_ai.response.finish_reasons", {"gen_ai.response.finish_reasons": ["stop", 1]}),
    (Rule.TYPE, "gen_ai.request.stream", {"gen_ai.request.stream": "true"}),
    (Rule.TYPE, "gen_ai.prompt.variable.n", {"gen_ai.prompt.variable.n": 3}),
    (Rule.TYPE, "server.port", {"server.port": "443"}),
    (Rule.WELL_KNOWN_VALUE, "gen_ai.provider.name", {"gen_ai.provider.name": "OpenAI"}),
    (Rule.CONDITION, "error.type", {}),
    (Rule.MESSAGE_SCHEMA, "gen_ai.input.messages", {"gen_ai.input.messages": "hello"}),
    (Rule.MESSAGE_SCHEMA, "gen_ai.input.messages", {"gen_ai.input.messages": '[{"role": "user", "content": "x"}]'}),
    (
        Rule.MESSAGE_SCHEMA,
        "gen_ai.output.messages",
        {"gen_ai.output.messages": [{"role": "x", "parts": [{"type": 1}]}]},
    ),
    (Rule.MESSAGE_SCHEMA, "gen_ai.system_instructions", {"gen_ai.system_instructions": '[{"type": "text"}]'}),
    (Rule.MESSAGE_SCHEMA, "gen_ai.tool.definitions", {"gen_ai.tool.definitions": '[{"type": "function"}]'}),
    (Rule.MESSAGE_SCHEMA, "gen_ai.input.messages", {"gen_ai.input.messages": "[" * 5000 + "]" * 5000}),
    (Rule.TOKEN_SUM, "gen_ai.usage.cache_read.input_tokens", {"gen_ai.usage.cache_read.input_tokens": 13}),
    (Rule.TOKEN_SUM, "gen_ai.usage.output_tokens", {"gen_ai.usage.output_tokens": -1}),
    (Rule.WRONG_SPAN, "gen_ai.token.modality", {"gen_ai.token.modality": "text"}),
]


@pytest.mark.parametrize(("rule", "attribute", "attributes"), VIOLATIONS)
def test_a_violation_is_found_and_explained(rule: Rule, attribute: str, attributes: dict[str, Any]) -> None:
    """Each way to break a rule gives one violation that says what, what to do, and where the rule stands."""
    findings = check(span(attributes, is_error=not attributes)) or ()
    (finding,) = (one for one in findings if one.level is Level.VIOLATION)
    assert (finding.rule, finding.level, finding.attribute) == (rule, Level.VIOLATION, attribute)
    assert attribute in finding.what
    assert finding.advice.endswith(".")
    assert finding.source.startswith(("registry", "span definitions", "JSON schemas"))
    assert finding.counts


@pytest.mark.parametrize("name", ["gen_ai.operation.name", "gen_ai.provider.name"])
def test_a_required_attribute_is_missed(name: str) -> None:
    """What every span of its kind must have is missed where it is not."""
    assert (Rule.REQUIRED, Level.VIOLATION, name) in found(span(without=name))


def test_a_port_belongs_to_an_address() -> None:
    """The address of a server without its port breaks the condition of the port."""
    assert found(span(without="server.port")) == [(Rule.CONDITION, Level.VIOLATION, "server.port")]


ADVICE: list[tuple[Rule, str | None, dict[str, Any], dict[str, Any]]] = [
    (Rule.SPAN_NAME, None, {}, {"name": "completion"}),
    (Rule.SPAN_KIND, None, {}, {"kind": "server"}),
    (Rule.SCHEMA_URL, None, {}, {"schema_url": ""}),
    (Rule.CONDITION, "error.type", {"error.type": "timeout"}, {}),
    (Rule.CONDITION, "gen_ai.request.stream", {"gen_ai.request.stream": False}, {}),
    (Rule.CONDITION, "gen_ai.request.choice.count", {"gen_ai.request.choice.count": 1}, {}),
    (Rule.WRONG_SPAN, "gen_ai.tool.name", {"gen_ai.tool.name": "find"}, {}),
    (Rule.WRONG_SPAN, "openai.response.service_tier", {"gen_ai.provider.name": "groq"}, {}),
    (Rule.OLDER_NAME, "gen_ai.usage.cache_creation.input_tokens", {"gen_ai.usage.cache_creation.input_tokens": 2}, {}),
    (Rule.OLDER_NAME, "gen_ai.usage.total_tokens", {"gen_ai.usage.total_tokens": 2}, {}),
    (Rule.OLDER_NAME, "gen_ai.prompt", {"gen_ai.prompt": "hello"}, {}),
    (Rule.OLDER_EVENT, "gen_ai.user.message", {}, {"events": ("gen_ai.user.message", "gen_ai.user.message", "x")}),
]


@pytest.mark.parametrize(("rule", "attribute", "attributes", "facts"), ADVICE)
def test_advice_is_given_and_does_not_count(
    rule: Rule, attribute: str | None, attributes: dict[str, Any], facts: dict[str, Any]
) -> None:
    """What the conventions only recommend, or had another name for, is advice."""
    (finding,) = check(span(attributes, **facts)) or ()
    assert (finding.rule, finding.level, finding.attribute) == (rule, Level.ADVICE, attribute)
    assert not finding.counts


def test_older_generations_are_read() -> None:
    """A span of v1.36 has its provider and tokens under older names: that is advice, and nothing is missing."""
    older = {
        "gen_ai.operation.name": "chat",
        "gen_ai.system": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.prompt_tokens": 3,
    }
    result = found(SpanFacts("chat gpt-4o", "client", older))
    assert result == [
        (Rule.OLDER_NAME, Level.ADVICE, "gen_ai.system"),
        (Rule.OLDER_NAME, Level.ADVICE, "gen_ai.usage.prompt_tokens"),
    ]
    wrong = {**older, "gen_ai.usage.prompt_tokens": "3"}
    assert (Rule.TYPE, Level.VIOLATION, "gen_ai.usage.prompt_tokens") in found(
        SpanFacts("chat gpt-4o", "client", wrong)
    )


def test_an_operation_of_ones_own_is_allowed() -> None:
    """Where no operation of the conventions fits, another word may stand, and only values are judged."""
    own = span({"gen_ai.operation.name": "moderation"}, without="gen_ai.provider.name", name="anything")
    assert found(own) == []


def test_a_model_inside_the_process_may_be_internal() -> None:
    """An inference span is CLIENT, or INTERNAL where the model runs in the process."""
    assert found(span(kind="internal")) == []


def test_what_is_wrong_with_a_message_never_quotes_it() -> None:
    """No text of a finding holds what a person wrote or a name that came with it."""
    secret = "my-secret-word"
    for value in (
        json.dumps([{"role": "user", "parts": [{"type": "text", "content": {secret: secret}}]}]),
        json.dumps([{"role": 7, "parts": secret}]),
        json.dumps({secret: secret}),
        secret,
    ):
        (finding,) = check(span({"gen_ai.input.messages": value})) or ()
        assert finding.rule is Rule.MESSAGE_SCHEMA
        assert secret not in json.dumps(finding.as_dict())


def test_a_declared_deviation_is_ours_only() -> None:
    """What otel_llm does on purpose carries its reason on our own spans, and is a violation on anybody else's."""
    (ours,) = check(span({"gen_ai.usage.cost": 0.1}, scope="otel_llm")) or ()
    assert ours.declared in DEVIATIONS
    assert not ours.counts
    (theirs,) = check(span({"gen_ai.usage.cost": 0.1})) or ()
    assert theirs.declared is None


def test_every_rule_has_a_source_and_a_case() -> None:
    """No rule is without its place in the conventions, and none is untested here."""
    assert set(SOURCES) == set(Rule)
    assert {row[0] for row in VIOLATIONS} | {row[0] for row in ADVICE} | {Rule.REQUIRED} == set(Rule)


def test_the_data_agrees_with_itself() -> None:
    """Every attribute of a span type is in the registry, every schema belongs to one, and no operation has no span."""
    known = conventions()
    for kind in known.spans:
        assert [name for name in kind.levels if known.attribute(name) is None] == []
        assert kind.operations
    assert set(known.schemas) <= set(known.attributes)
    operations = set(known.attributes["gen_ai.operation.name"].values)
    assert operations == {operation for kind in known.spans for operation in kind.operations}
