"""What a test asks about the calls to models that a program made.

The counting rules are those of the local store: a call is logical, whatever number of attempts it took, and its
tokens and cost are those of its attempts added up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import StatusCode

from otel_llm import semconv
from otel_llm.store.rows import is_model_call
from otel_llm.testing.snapshots import snapshot_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from otel_llm.testing.snapshots import SnapshotFile

__all__ = ["LlmCall", "LlmSpans", "calls_in"]


@dataclass(frozen=True, slots=True)
class LlmCall:
    """One call to a model, as its spans tell it."""

    span: ReadableSpan
    """The span of the logical call."""
    attempts: tuple[ReadableSpan, ...] = ()
    """The spans of its attempts, where it took more than one."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The attributes of the logical call, under the names of the GenAI conventions."""
        return self.span.attributes or {}

    @property
    def operation(self) -> str:
        """`chat`, `embeddings`, `text_completion`, ..."""
        return str(self.attributes.get(semconv.OPERATION_NAME, ""))

    @property
    def provider(self) -> str | None:
        """The provider, under the conventions' name for it."""
        return self.attributes.get(semconv.PROVIDER_NAME)

    @property
    def model(self) -> str | None:
        """The model asked for."""
        return self.attributes.get(semconv.REQUEST_MODEL)

    @property
    def response_model(self) -> str | None:
        """The model that answered, by its own word."""
        return self.attributes.get(semconv.RESPONSE_MODEL)

    @property
    def tenant(self) -> str | None:
        """The tenant it was made for; `unknown` where none was set."""
        return self.attributes.get(semconv.TENANT_ID)

    @property
    def user(self) -> str | None:
        """The user it was made for."""
        return self.attributes.get(semconv.USER_ID)

    @property
    def session(self) -> str | None:
        """The session it belongs to."""
        return self.attributes.get(semconv.SESSION_ID)

    @property
    def input_tokens(self) -> int:
        """Tokens read, cached ones included; 0 where none are known."""
        return self._tokens(semconv.USAGE_INPUT)

    @property
    def output_tokens(self) -> int:
        """Tokens written; 0 where none are known."""
        return self._tokens(semconv.USAGE_OUTPUT)

    @property
    def total_tokens(self) -> int:
        """Tokens read and written."""
        return self.input_tokens + self.output_tokens

    @property
    def cost(self) -> Decimal | None:
        """What it cost in USD; None where the price is not known."""
        costs = [attributes[semconv.COST] for attributes in self._all_attributes if semconv.COST in attributes]
        return sum((Decimal(repr(float(cost))) for cost in costs), Decimal(0)) if costs else None

    @property
    def cache_hit(self) -> bool:
        """Whether litellm's response cache answered."""
        return self.attributes.get(semconv.CACHE_HIT) is True

    @property
    def error(self) -> str | None:
        """`error.type` of a call that failed; None for one that did not."""
        if self.span.status.status_code is not StatusCode.ERROR:
            return None
        return str(self.attributes.get(semconv.ERROR_TYPE, "_OTHER"))

    @property
    def finish_reasons(self) -> tuple[str, ...]:
        """Why the model stopped, a reason for each choice."""
        return tuple(self.attributes.get(semconv.FINISH_REASONS) or ())

    @property
    def input_messages(self) -> list[dict[str, Any]]:
        """What was asked, as the conventions' message objects; empty where content is not recorded."""
        return _messages(self.attributes.get(semconv.INPUT_MESSAGES))

    @property
    def output_messages(self) -> list[dict[str, Any]]:
        """What was answered, as the conventions' message objects; empty where content is not recorded."""
        return _messages(self.attributes.get(semconv.OUTPUT_MESSAGES))

    @property
    def _all_attributes(self) -> list[Mapping[str, Any]]:
        return [span.attributes or {} for span in (self.span, *self.attempts)]

    @property
    def unpriced(self) -> bool:
        """Whether any part of it was used whose price is not known; one that failed before that is not meant."""
        return any(map(_without_price, (self.span, *self.attempts)))

    def _tokens(self, name: str) -> int:
        return sum(int(attributes.get(name, 0)) for attributes in self._all_attributes)

    def __str__(self) -> str:
        known = f"{self.cost.normalize():f} USD" if self.cost is not None else "cost unknown"
        told = [f"{self.operation} {self.model}", f"tenant {self.tenant}", f"{self.total_tokens} tokens", known]
        if self.cache_hit:
            told.append("cache hit")
        if self.error:
            told.append(f"failed: {self.error}")
        return ", ".join(told)


def _without_price(span: ReadableSpan) -> bool:
    attributes = span.attributes or {}
    if semconv.COST in attributes or semconv.ATTEMPTS in attributes:
        return False
    used = semconv.USAGE_INPUT in attributes or semconv.USAGE_OUTPUT in attributes
    failed = span.status.status_code is StatusCode.ERROR
    return used or (attributes.get(semconv.COST_STATUS) == semconv.COST_UNKNOWN and not failed)


def _messages(text: Any) -> list[dict[str, Any]]:
    return json.loads(text) if isinstance(text, str) else []


def calls_in(spans: Iterable[ReadableSpan]) -> list[LlmCall]:
    """The logical calls among `spans`, in the order in which they began."""
    of_models = [span for span in spans if is_model_call(span.attributes or {})]
    attempts: dict[int, list[ReadableSpan]] = {}
    for span in of_models:
        if semconv.ATTEMPT in (span.attributes or {}) and span.parent is not None:
            attempts.setdefault(span.parent.span_id, []).append(span)
    logical = [span for span in of_models if semconv.ATTEMPT not in (span.attributes or {})]
    logical.sort(key=lambda span: span.start_time or 0)
    return [LlmCall(span, tuple(attempts.get(span.context.span_id, ()))) for span in logical if span.context]


class LlmSpans:
    """The spans of one test. Reading it waits a moment for streams that the program has let go of."""

    def __init__(
        self,
        spans: Callable[[], Sequence[ReadableSpan]],
        *,
        settle: Callable[[], object],
        clear: Callable[[], object],
        snapshot_file: Callable[[str], SnapshotFile],
    ) -> None:
        self._spans = spans
        self._settle = settle
        self._clear = clear
        self._snapshot_file = snapshot_file

    @property
    def spans(self) -> list[ReadableSpan]:
        """All spans that ended so far, of tools and functions too, in the order in which they began."""
        self._settle()
        return sorted(self._spans(), key=lambda span: span.start_time or 0)

    def calls(
        self,
        *,
        model: str | None = None,
        tenant: str | None = None,
        user: str | None = None,
        session: str | None = None,
        operation: str | None = None,
        provider: str | None = None,
        error: str | bool | None = None,
    ) -> list[LlmCall]:
        """The calls that fit everything given, in the order in which they began.

        `model` is the one asked for or the one that answered. `error` is an `error.type`, or True for all that
        failed and False for all that did not.
        """
        wanted = {"tenant": tenant, "user": user, "session": session, "operation": operation, "provider": provider}
        asked = {name: value for name, value in wanted.items() if value is not None}
        return [
            call
            for call in calls_in(self.spans)
            if (model is None or model in (call.model, call.response_model))
            and all(getattr(call, name) == value for name, value in asked.items())
            and (error is None or error == call.error or (isinstance(error, bool) and error == bool(call.error)))
        ]

    @property
    def cost(self) -> Decimal:
        """What all calls cost in USD, those left out whose price is not known (see `unpriced`)."""
        return sum((call.cost for call in self.calls() if call.cost is not None), Decimal(0))

    @property
    def tokens(self) -> int:
        """Tokens that all calls read and wrote."""
        return sum(call.total_tokens for call in self.calls())

    @property
    def unpriced(self) -> list[LlmCall]:
        """Calls of which not all has a price that is known."""
        return [call for call in self.calls() if call.unpriced]

    def assert_called(self, *, times: int | None = None, **wanted: Any) -> list[LlmCall]:
        """Fail unless calls that fit `wanted` (see `calls`) were made: at least one, or exactly `times`.

        Returns the calls that fit.
        """
        found = self.calls(**wanted)
        if (times is None and not found) or (times is not None and len(found) != times):
            expected = "at least one call" if times is None else f"{times} call{'s' * (times != 1)}"
            raise AssertionError(self._told(expected, len(found), wanted))
        return found

    def assert_not_called(self, **wanted: Any) -> None:
        """Fail if calls that fit `wanted` (see `calls`) were made."""
        found = self.calls(**wanted)
        if found:
            raise AssertionError(self._told("no call", len(found), wanted))

    def assert_budget(self, *, usd: float | Decimal | None = None, tokens: int | None = None) -> None:
        """Fail if all calls together cost more than `usd`, or used more than `tokens`.

        A call whose price is not known fails a budget in USD, as nobody could say that it was kept.
        """
        if tokens is not None and self.tokens > tokens:
            raise AssertionError(f"{self.tokens} tokens were used, the budget is {tokens}.\n{self._listed()}")
        if usd is None:
            return
        if self.unpriced:
            models = ", ".join(sorted({str(call.model) for call in self.unpriced}))
            raise AssertionError(
                f"The budget of {usd} USD cannot be checked: the price of {models} is not known. Give it one in the "
                f"file that the setting `prices_file` names, or budget tokens instead.\n{self._listed()}"
            )
        if self.cost > Decimal(str(usd)):
            raise AssertionError(
                f"{self.cost.normalize():f} USD were spent, the budget is {usd} USD.\n{self._listed()}"
            )

    def snapshot(self, *, ignore: Collection[str] = (), content: bool = False) -> list[dict[str, Any]]:
        """All spans as data for JSON that is the same in every run: numbered ids, no times (see `snapshot_of`)."""
        return snapshot_of(self.spans, ignore=ignore, content=content)

    def assert_snapshot(self, name: str = "", *, ignore: Collection[str] = (), content: bool = False) -> None:
        """Fail unless the spans are those of the snapshot file, which `--llm-snapshot-update` writes.

        The file is `llm_snapshots/<test file>/<test>[-<name>].json` beside the test. Attributes in `ignore` are left
        out, and those that hold content unless `content` is true.
        """
        self._snapshot_file(name).check(self.snapshot(ignore=ignore, content=content))

    def clear(self) -> None:
        """Forget what was recorded so far."""
        self._settle()
        self._clear()

    def _told(self, expected: str, found: int, wanted: Mapping[str, Any]) -> str:
        criteria = ", ".join(f"{name}={value!r}" for name, value in wanted.items())
        return f"Expected {expected}{f' with {criteria}' if criteria else ''}, found {found}.\n{self._listed()}"

    def _listed(self) -> str:
        made = self.calls()
        if not made:
            return (
                "No call was recorded at all. Most likely the program did not reach its call, or it calls the model "
                "through a library that is not recorded: see `otel_llm.status().instrumented`."
            )
        return "\n".join(["Recorded calls:", *(f"  {number}. {call}" for number, call in enumerate(made, 1))])
