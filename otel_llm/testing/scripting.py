"""The verbs with which a test says what its fake provider shall do next."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from otel_llm.testing.generation import split_words
from otel_llm.testing.script import Action, Canned, Hang, Reply, Reset, Rule, Script, ToolCall, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Scripting"]


class Scripting:
    """Adds rules to a script, all of them for the same kind of request.

    Every verb takes `times`: how many requests get this answer (1 unless said otherwise; None for ever).
    Rules are used in the order in which they were given; a request takes the first one that fits it.
    All delays are in seconds.
    """

    def __init__(self, script: Script, *, model: str | None = None, path: str | None = None) -> None:
        self._script = script
        self._only_model = model
        self._only_path = path

    def when(self, *, model: str | None = None, path: str | None = None) -> Scripting:
        """Script only for requests that ask for `model`, or whose path ends in `path`.

            provider.when(model="gpt-4o").error(503, times=None)
            provider.when(path="/embeddings").hang()

        A second `when` narrows the first.
        """
        return Scripting(self._script, model=model or self._only_model, path=path or self._only_path)

    def answer(
        self,
        text: str,
        *,
        usage: Usage | None = None,
        model: str | None = None,
        finish_reason: str | None = None,
        thinking: str = "",
        delay: float = 0.0,
        times: int | None = 1,
    ) -> None:
        """Answer with `text`; a request that asked for a stream gets it word by word.

        `usage` is counted from the texts unless given; `model` is what the response names (by default the
        model that was asked for); `finish_reason` is in OpenAI's words whatever the format.
        """
        reply = Reply(
            split_words(text), usage=usage, model=model, finish_reason=finish_reason, thinking=thinking, delay=delay
        )
        self.reply(reply, times=times)

    def stream(
        self,
        chunks: Iterable[str],
        *,
        usage: Usage | None = None,
        model: str | None = None,
        finish_reason: str | None = None,
        delay: float = 0.0,
        first_chunk_delay: float = 0.0,
        chunk_delay: float = 0.0,
        fail_after: int | None = None,
        fail_with: Literal["cut", "error"] = "cut",
        times: int | None = 1,
    ) -> None:
        """Answer in these pieces, at this pace; a request that did not ask for a stream gets them joined.

        With `fail_after=N` the stream breaks after N pieces of content: the connection is cut, or, with
        `fail_with="error"`, the provider sends an error event as it does when it is overloaded.
        """
        reply = Reply(
            tuple(chunks),
            usage=usage,
            model=model,
            finish_reason=finish_reason,
            delay=delay,
            first_chunk_delay=first_chunk_delay,
            chunk_delay=chunk_delay,
            fail_after=fail_after,
            fail_with=fail_with,
        )
        self.reply(reply, times=times)

    def tool_call(
        self,
        name: str,
        arguments: Mapping[str, Any] | str | None = None,
        *,
        text: str = "",
        usage: Usage | None = None,
        delay: float = 0.0,
        times: int | None = 1,
    ) -> None:
        """Ask for a call of the tool `name`; a string of `arguments` is sent as it is, valid JSON or not.

        For several calls in one answer use `reply(Reply(tool_calls=(...)))`.
        """
        call = ToolCall(name, {} if arguments is None else arguments)
        self.reply(Reply(split_words(text), tool_calls=(call,), usage=usage, delay=delay), times=times)

    def reply(self, reply: Reply, *, times: int | None = 1) -> None:
        """Answer with anything that a `Reply` can say."""
        self._add(reply, times)

    def error(
        self,
        status: int,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        delay: float = 0.0,
        times: int | None = 1,
    ) -> None:
        """Answer with an HTTP error; without a `body`, with the one that the provider's format has for it.

            provider.error(429, headers={"Retry-After": "1"}, times=2)

        A client that retries on its own will use up several.
        """
        self._add(Canned(status, body, dict(headers or {}), delay), times)

    def malformed(self, body: bytes = b'{"id": "fake", "choi', *, delay: float = 0.0, times: int | None = 1) -> None:
        """Answer 200 with a body that is not what it claims to be (by default JSON that breaks off)."""
        self._add(Canned(200, body, delay=delay), times)

    def json(self, body: Any, *, status: int = 200, times: int | None = 1) -> None:
        """Answer with this very body, whatever was asked."""
        self._add(Canned(status, json.dumps(body).encode()), times)

    def reset(self, *, delay: float = 0.0, times: int | None = 1) -> None:
        """Reset the connection instead of answering."""
        self._add(Reset(delay), times)

    def hang(self, *, times: int | None = 1) -> None:
        """Read the request and never answer."""
        self._add(Hang(), times)

    def _add(self, action: Action, times: int | None) -> None:
        self._script.add(Rule(action, times, self._only_model, self._only_path))
