"""What was found, each kind of finding once, with how often and where first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TextIO

from otel_llm import semconv
from otel_llm.cli.tables import safe_text, write_line
from otel_llm.conformance import Finding, Level, check
from otel_llm.conformance.conventions import conventions

if TYPE_CHECKING:
    from otel_llm.conformance import SpanFacts

__all__ = ["Group", "Report"]

_MOST_GROUPS: Final = 1000
"""Kinds of findings that are told apart; a program that makes up attribute names cannot fill the memory."""
_LONGEST_NAME: Final = 120


@dataclass(slots=True)
class Group:
    """One kind of finding: a rule, on one attribute, of one instrumentation, for one operation."""

    first: Finding
    count: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data for JSON."""
        span = self.first.span
        where = {"name": span.name[:_LONGEST_NAME], "trace_id": span.trace_id, "span_id": span.span_id}
        if span.line is not None:
            where["line"] = str(span.line)
        return {**self.first.as_dict(), "spans": self.count, "scope": span.scope, "first": where}

    def write(self, out: TextIO) -> None:
        """Write it for a person."""
        finding, span = self.first, self.first.span
        if finding.declared is not None:
            subject = finding.attribute or "the span itself"
            _say(out, f"declared   {finding.rule.value}: {subject} ({self._how_many()} of otel_llm)")
            _say(out, f"  because  {finding.declared.reason}")
            return
        _say(out, f"{finding.level.value:<10} {finding.rule.value}: {finding.what}")
        line = f", line {span.line}" if span.line is not None else ""
        ids = f"trace {span.trace_id}, span {span.span_id}{line}"
        _say(out, f"  where    {self._how_many()} of {span.scope or 'no scope'!r}; first {_named(span.name)} ({ids})")
        _say(out, f"  do       {finding.advice}")
        _say(out, f"  source   {finding.source}")

    def _how_many(self) -> str:
        return f"{self.count} {_plural(self.count, 'span')}"


class Report:
    """Checks spans and adds up what is wrong with them."""

    def __init__(self) -> None:
        self.spans = 0
        self.genai_spans = 0
        self.more = 0
        """Findings beyond the kinds that are told apart."""
        self._groups: dict[tuple[Any, ...], Group] = {}

    @property
    def has_violations(self) -> bool:
        """Whether anything makes the exit code 1."""
        return self.more > 0 or any(group.first.counts for group in self._groups.values())

    @property
    def has_advice(self) -> bool:
        """Whether there is advice, declared deviations apart."""
        return any(
            group.first.level is Level.ADVICE and group.first.declared is None for group in self._groups.values()
        )

    def add(self, span: SpanFacts) -> list[Group]:
        """Check one span; the kinds of findings that were not there before."""
        self.spans += 1
        findings = check(span)
        if findings is None:
            return []
        self.genai_spans += 1
        fresh, here = [], set()
        for finding in findings:
            key = (finding.rule, finding.attribute, span.scope, str(span.attributes.get(semconv.OPERATION_NAME)))
            group = self._groups.get(key)
            if group is None:
                if len(self._groups) >= _MOST_GROUPS:
                    self.more += 1
                    continue
                group = self._groups[key] = Group(finding)
                fresh.append(group)
            group.count += key not in here
            here.add(key)
        return fresh

    def write(self, out: TextIO, *, as_json: bool) -> None:
        """Write everything: every kind of finding and the sum."""
        if as_json:
            write_line(out, json.dumps(self.as_dict(), ensure_ascii=False, indent=2))
            return
        for group in self._sorted():
            group.write(out)
        self.write_sum(out)

    def write_sum(self, out: TextIO) -> None:
        """Write the last line."""
        _say(out, self._sum())

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data for JSON."""
        known = conventions()
        return {
            "conforms": not self.has_violations,
            "spans": self.spans,
            "genai_spans": self.genai_spans,
            **self._counts(),
            "further_findings": self.more,
            "conventions": {"state": known.state, "schema_url": known.schema_url},
            "findings": [group.as_dict() for group in self._sorted()],
        }

    def _sorted(self) -> list[Group]:
        return sorted(
            self._groups.values(),
            key=lambda group: (group.first.declared is not None, group.first.level is Level.ADVICE, -group.count),
        )

    def _counts(self) -> dict[str, int]:
        groups = self._groups.values()
        return {
            "violations": sum(group.first.counts for group in groups),
            "advice": sum(group.first.level is Level.ADVICE and group.first.declared is None for group in groups),
            "declared": sum(group.first.declared is not None for group in groups),
        }

    def _sum(self) -> str:
        counts = self._counts()
        if not self.genai_spans:
            return f"{self.spans} {_plural(self.spans, 'span')}, none of them a GenAI span: nothing was checked."
        kinds = (
            f"{counts['violations']} {_plural(counts['violations'], 'kind')} of violation, {counts['advice']} of advice"
        )
        declared = f", {counts['declared']} declared by otel_llm" if counts["declared"] else ""
        more = f", and {self.more} findings of further kinds" if self.more else ""
        spans = f"{self.genai_spans} GenAI {_plural(self.genai_spans, 'span')} of {self.spans} checked"
        return f"{spans}: {kinds}{declared}{more}."


def _say(out: TextIO, line: str) -> None:
    write_line(out, safe_text(line))


def _named(name: str) -> str:
    return repr(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}...")


def _plural(count: int, word: str) -> str:
    return word if count == 1 else f"{word}s"
