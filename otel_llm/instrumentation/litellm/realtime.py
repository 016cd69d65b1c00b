"""Realtime sessions: a span for the session, and below it one for each response, with its tokens and its cost.

litellm relays between the program's websocket and the provider's (`litellm._arealtime`), and hands every provider's
events on in OpenAI's words. So we listen at the program's websocket: what it is sent says when a response begins, when
its first word or sound comes, and, when it is done, what it counted. Pieces of sound are not looked into: of an event
only as much is read as tells that it is one of those few.

Source: https://platform.openai.com/docs/api-reference/realtime-server-events.
"""

from __future__ import annotations

import json
import timeit
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as otel_context

from otel_llm import semconv
from otel_llm.context import leave
from otel_llm.faults import guarded
from otel_llm.instrumentation.failures import ReportedError
from otel_llm.instrumentation.litellm.calls import LogicalCall
from otel_llm.instrumentation.litellm.forms import REALTIME, Form
from otel_llm.instrumentation.litellm.listening import ListeningWebsocket
from otel_llm.instrumentation.litellm.reading import get, text
from otel_llm.instrumentation.litellm.request import Request, fill_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_llm.instrumentation.recorder import Recorder

__all__ = ["SESSION", "RealtimeSession", "named_arguments"]

SESSION: Final = Form("_arealtime", REALTIME, semconv.OP_REALTIME, ("model", "websocket", "api_base", "api_key"))
"""The function of litellm that is a session as long as it runs."""
_RESPONSE: Final = Form("_arealtime", REALTIME, semconv.OP_CHAT, (), tells_failure=True)
_ENDS: Final = frozenset({1000, 1001, 1005})
"""Codes of websockets that are closed as they should be."""
_MOST: Final = 64
"""Responses of one session that are open at a time, and items that the next one is told of."""

_BEGINS, _IS_DONE, _GROWS = '"response.created"', '"response.done"', '.delta"'
_OF_A_RESPONSE, _OF_AN_ITEM, _OF_THE_SESSION = '"response.', '"conversation.item.', '"session.'
"""What an event has in it that is one of those that are read."""


def named_arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
    """The arguments of a session by name; None where there are more than we know, or no websocket."""
    named = {**dict(zip(SESSION.parameters, args, strict=False)), **kwargs}
    return named if len(args) <= len(SESSION.parameters) and "websocket" in named else None


class RealtimeSession:
    """Our work around one session: `Around`, as the one who runs the original has it."""

    asked = False

    def __init__(self, recorder: Recorder, arguments: dict[str, Any], *, tenant_key: str) -> None:
        self._recorder = recorder
        self._tenant_key = tenant_key
        self._arguments = arguments
        self._failure: ReportedError | None = None
        self._model: str | None = None
        self._instructions: str | None = None
        self._heard: list[Any] = []
        self._open: dict[str | None, LogicalCall] = {}
        request = Request(SESSION, (), arguments)
        self._recording = recorder.start(request.call(tenant_key=tenant_key), self)
        guarded("reading a request", fill_request, self._recording, request)
        self.kwargs = {**arguments, "websocket": ListeningWebsocket(arguments["websocket"], self)}

    def finish(self, result: Any) -> Any:
        """The session is over."""
        self._leave_open()
        if self._failure is None:
            self._recording.end()
        else:
            self._recording.fail(self._failure)
        return result

    def fail(self, error: BaseException) -> None:
        """The session broke off with `error`."""
        self._leave_open()
        self._recording.fail(error)

    def abandon(self) -> None:
        """Recording came to grief: end what is open."""
        self._leave_open()
        self._recording.end()

    def told(self, event: object) -> None:
        """The program is being sent `event`."""
        if not isinstance(event, (str, bytes)):
            return
        said = event if isinstance(event, str) else event.decode("utf-8", "replace")
        if _OF_A_RESPONSE in said:
            if _GROWS in said:
                self._grow()
            elif _BEGINS in said:
                self._begin(get(_read(said), "response"))
            elif _IS_DONE in said:
                self._done(get(_read(said), "response"))
        elif _OF_THE_SESSION in said:
            self._session(get(_read(said), "session"))
        elif self._recorder.wants_content and _OF_AN_ITEM in said and _GROWS not in said:
            self._hear(_read(said))

    def closed(self, said: Mapping[str, Any]) -> None:
        """The program's websocket is being closed: litellm raises nothing where the provider cannot be reached."""
        code = said.get("code")
        if type(code) is int and code not in _ENDS:
            self._failure = ReportedError(str(code), text(said.get("reason")) or "no reason given")

    def _session(self, session: object) -> None:
        self._model = text(get(session, "model")) or self._model
        self._instructions = text(get(session, "instructions")) or self._instructions
        self._recording.set({semconv.CONVERSATION_ID: text(get(session, "id"))})

    def _begin(self, response: object) -> None:
        if len(self._open) >= _MOST:
            return
        arguments = {name: value for name, value in self._arguments.items() if name not in {"websocket", "client"}}
        if self._recorder.wants_content:
            arguments.update(input=self._heard, instructions=self._instructions)
            self._heard = []
        token = otel_context.attach(self._recording.context)
        try:
            call = LogicalCall(
                self._recorder, Request(_RESPONSE, (), arguments), routed=False, tenant_key=self._tenant_key
            )
            call.recording.suspend()
        finally:
            leave(token)
        self._open[text(get(response, "id"))] = call

    def _grow(self) -> None:
        now = timeit.default_timer()
        for call in self._open.values():
            call.recording.first_chunk(now)

    def _done(self, response: object) -> None:
        if not isinstance(response, dict):
            return
        identifier = text(response.get("id"))
        if identifier not in self._open:
            self._begin(response)  # some providers do not say that one begins
        call = self._open.pop(identifier, None)
        if call is not None:
            conversation = self._recording.attributes.get(semconv.CONVERSATION_ID)
            call.recording.set({semconv.CONVERSATION_ID: conversation})
            call.finish({"model": self._model, **response})

    def _hear(self, event: object) -> None:
        item = get(event, "item")
        if text(get(item, "role")) == "assistant":
            return
        transcript = text(get(event, "transcript"))
        if transcript is not None:
            item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": transcript}]}
        if item is not None and item not in self._heard and len(self._heard) < _MOST:
            self._heard.append(item)

    def _leave_open(self) -> None:
        """What a response had said when the session ended stays: it was cut short."""
        for call in self._open.values():
            call.recording.set({semconv.STREAM_END: "closed"})
            call.recording.end()
        self._open.clear()


def _read(said: str) -> object:
    try:
        return json.loads(said)
    except (ValueError, RecursionError):
        return None
