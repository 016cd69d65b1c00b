"""Reads a stream's chunks as they pass and puts together what a complete answer would have said."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from otel_llm.faults import let_through
from otel_llm.instrumentation.litellm.chunks import kept_chunk
from otel_llm.instrumentation.litellm.failed_answers import FailureWatch
from otel_llm.instrumentation.litellm.guest import guest
from otel_llm.instrumentation.litellm.reading import get, items, text
from otel_llm.instrumentation.litellm.usage import Usage, read_usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_llm.instrumentation.litellm.request import Request

__all__ = ["StreamReader"]

_MAX_TEXT = 2_000_000
"""Characters of one stream kept for messages and estimates; what comes after is counted, not kept."""


class _Choice:
    """One choice of a streamed answer as far as it has come."""

    def __init__(self) -> None:
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.calls: dict[int, dict[str, Any]] = {}
        self.finish_reason: str | None = None

    def as_answer(self, *, chat: bool) -> dict[str, Any]:
        if not chat:
            return {"text": "".join(self.content), "finish_reason": self.finish_reason}
        message = {
            "role": "assistant",
            "content": "".join(self.content) or None,
            "reasoning_content": "".join(self.reasoning) or None,
            "tool_calls": [self.calls[index] for index in sorted(self.calls)],
        }
        return {"message": message, "finish_reason": self.finish_reason}


class StreamReader:
    """Accumulates chunks of chat, text or Responses streams. Tolerates any chunk."""

    def __init__(self, request: Request, *, cache_hit: bool = False) -> None:
        self._request = request
        self._choices: dict[int, _Choice] = {}
        self._kept = 0
        self._id: str | None = None
        self._model: str | None = None
        self._served_model: str | None = None
        """The model in the provider's own words, which newer litellm versions keep beside the one asked for."""
        self._service_tier: str | None = None
        self._fingerprint: str | None = None
        self._final: object = None
        self._usages: list[object] = []
        self.cache_hit = cache_hit
        self.failure_in = FailureWatch().failure_in if request.form.tells_failure else None
        """Tells what a chunk says went wrong; None for a stream in which no chunk says so."""

    keep = staticmethod(kept_chunk)
    """A chunk as it is now, for when there is time to feed it."""

    @property
    def size(self) -> int:
        """About the bytes of what was read."""
        return self._kept + 1024

    def feed(self, chunk: object) -> bool:
        """Take one chunk in; True when it carries content (a word, a tool call, a sound), not just a role."""
        kind = get(chunk, "type")
        if isinstance(getattr(kind, "value", kind), str) and not items(get(chunk, "choices")):
            return self._feed_event(str(getattr(kind, "value", kind)), chunk)
        self._id = self._id or text(get(chunk, "id"))
        hidden = get(chunk, "_hidden_params")
        self._served_model = text(get(hidden, "provider_response_model")) or self._served_model
        self._model = text(get(chunk, "model")) or self._model
        self._service_tier = text(get(chunk, "service_tier")) or self._service_tier
        self._fingerprint = text(get(chunk, "system_fingerprint")) or self._fingerprint
        usage = get(chunk, "usage")
        if usage is not None:
            self._usages.append(usage)
        carried = [self._feed_choice(choice) for choice in items(get(chunk, "choices"))]
        return any(carried)

    def answer(self) -> object:
        """What the stream amounts to, shaped like a complete answer."""
        if self._final is not None:
            return self._final
        chat = self._request.form.family != "text_completion"
        return SimpleNamespace(
            id=self._id,
            model=self._served_model or self._model,
            service_tier=self._service_tier,
            system_fingerprint=self._fingerprint,
            choices=[self._choices[index].as_answer(chat=chat) for index in sorted(self._choices)],
            usage=self._usages[-1] if self._usages else None,
            _hidden_params={"cache_hit": True} if self.cache_hit else {},
        )

    def usage(self, raw_chunks: object, *, cut_short: bool = False) -> Usage | None:
        """Tokens as the provider reported them; where it did not, counted by litellm's tokenizer and marked.

        `raw_chunks` are the chunks as litellm keeps them, usage included. A provider that reports in parts
        (input first, output last) is read by the last report of each kind; of a stream that was `cut_short` the
        final report never came, so what was heard is counted, and the larger number marked as an estimate.
        """
        if self._final is not None:
            return read_usage(get(self._final, "usage"))
        reported = [read_usage(get(chunk, "usage")) for chunk in items(raw_chunks)]
        reported.extend(read_usage(usage) for usage in self._usages)
        found = [usage for usage in reported if usage is not None and (usage.input or usage.output)]
        if not found:
            return self._estimate()
        usage = _latest(found)
        heard = self._estimate() if cut_short else None
        if heard is not None and (heard.output or 0) > (usage.output or 0):
            # The kinds within the output were counted with the provisional total, and litellm prices by them.
            return usage._replace(output=heard.output, text_output=None, provider_cost=None, estimated=True)
        return usage

    def priceable(self, usage: Usage | None) -> object:
        """The answer in a form that litellm can price: one of its own responses, with usage."""
        answer = self.answer()
        if self._final is not None or usage is None or usage.input is None:
            return answer
        library = guest()
        counted = library.Usage(
            prompt_tokens=usage.input,
            completion_tokens=usage.output or 0,
            total_tokens=usage.input + (usage.output or 0),
            prompt_tokens_details={
                "cached_tokens": usage.cache_read,
                "audio_tokens": usage.audio_input,
                "text_tokens": usage.text_input,
                "image_tokens": usage.image_input,
            },
            completion_tokens_details={
                "reasoning_tokens": usage.reasoning,
                "audio_tokens": usage.audio_output,
                "text_tokens": usage.text_output,
            },
            cache_creation_input_tokens=usage.cache_write or 0,
            cache_read_input_tokens=usage.cache_read or 0,
        )
        made = library.ModelResponse(id=self._id, model=self._model, usage=counted)
        if self._service_tier is not None:
            made.service_tier = self._service_tier
        return made

    def _feed_event(self, kind: str, event: object) -> bool:
        response = get(event, "response")
        if response is not None:
            self._id = self._id or text(get(response, "id"))
            self._model = text(get(response, "model")) or self._model
            if kind in {"response.completed", "response.incomplete", "response.failed"}:
                self._final = response
        if not kind.endswith(".delta"):
            return False
        delta = get(event, "delta")
        if not isinstance(delta, str) or not delta:
            return False
        if kind == "response.output_text.delta":
            self._keep(self._choice(0).content, delta)
        return True

    def _feed_choice(self, choice: object) -> bool:
        state = self._choice(get(choice, "index"))
        reason = text(get(choice, "finish_reason"))
        if reason:
            state.finish_reason = reason
        delta = get(choice, "delta")
        if delta is None:
            return self._keep(state.content, get(choice, "text"))
        content = self._keep(state.content, get(delta, "content"))
        reasoning = self._keep(state.reasoning, get(delta, "reasoning_content"))
        calls = [self._feed_call(state, call) for call in items(get(delta, "tool_calls"))]
        function_call = get(delta, "function_call")
        if function_call is not None:
            calls.append(self._feed_call(state, {"index": 0, "function": function_call}))
        return content or reasoning or any(calls) or get(delta, "audio") is not None

    def _feed_call(self, state: _Choice, call: object) -> bool:
        index = get(call, "index")
        index = index if isinstance(index, int) else len(state.calls)
        made = state.calls.setdefault(index, {"id": None, "function": {"name": "", "arguments": ""}})
        made["id"] = text(get(call, "id")) or made["id"]
        function = get(call, "function")
        made["function"]["name"] = text(get(function, "name")) or made["function"]["name"]
        arguments = get(function, "arguments")
        if isinstance(arguments, str) and self._kept < _MAX_TEXT:
            made["function"]["arguments"] += arguments
            self._kept += len(arguments)
        return True

    def _keep(self, pieces: list[str], piece: object) -> bool:
        if not isinstance(piece, str) or not piece:
            return False
        if self._kept < _MAX_TEXT:
            pieces.append(piece)
            self._kept += len(piece)
        return True

    def _choice(self, index: object) -> _Choice:
        return self._choices.setdefault(index if isinstance(index, int) else 0, _Choice())

    def _asked(self) -> tuple[Any, Any]:
        """The messages or the text that the model was given."""
        arguments = self._request.arguments
        return arguments.get("messages"), arguments.get("prompt") or arguments.get("input")

    def _spoken(self) -> Iterator[str]:
        for choice in self._choices.values():
            yield from choice.content
            yield from choice.reasoning
            yield from (call["function"]["arguments"] for call in choice.calls.values())

    def _estimate(self) -> Usage | None:
        """Count tokens with litellm's own tokenizer for the model, offline."""
        library = guest()
        messages, prompt = self._asked()
        model = self._request.model or ""
        spoken = "".join(self._spoken())
        try:
            given = library.token_counter(model=model, messages=messages) if messages else 0
            if not messages and isinstance(prompt, str):
                given = library.token_counter(model=model, text=prompt)
            return Usage(input=given, output=library.token_counter(model=model, text=spoken), estimated=True)
        except Exception as error:  # noqa: BLE001  (a tokenizer that cannot be loaded offline leaves the usage unknown)
            let_through(error)
            return None


def _latest(reports: list[Usage]) -> Usage:
    """Of each kind the last count that is not 0: later reports leave out (litellm writes 0) what was said before."""

    def last(name: str) -> int | None:
        values = [value for value in (getattr(report, name) for report in reports) if value is not None]
        return next((value for value in reversed(values) if value), values[-1] if values else None)

    names = [name for name in Usage._fields if name != "estimated"]
    return Usage(**{name: last(name) for name in names})  # type: ignore[arg-type]  # `estimated` is not among them
