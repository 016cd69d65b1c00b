"""What is asked for now and answered later: batches, and responses and interactions in the background.

The call that asks is answered with an id, and nothing is billed yet. The program comes back for it, once or a hundred
times, and each answer from the end of the work on says the same tokens. So they are recorded once: with the first
answer that says it is done, where this process has asked for it or has seen it undone. Who only ever sees it done
(a job that looks every hour) may have counted it yesterday, and counts nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otel_llm import semconv
from otel_llm.instrumentation.litellm.forms import BATCH, INTERACTIONS, Form
from otel_llm.instrumentation.litellm.reading import get, hidden_of, text
from otel_llm.instrumentation.litellm.request import Request
from otel_llm.instrumentation.litellm.vendor_ids import vendor_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_llm.context import Identity

__all__ = ["AWAITED", "LATER", "Awaited", "is_undone"]

_MOST: Final = 10_000
"""Answers that are waited for at a time; the oldest is given up for another."""
_RESPONSES: Final = "responses"
_UNDONE: Final = frozenset({"validating", "queued", "in_progress", "finalizing", "cancelling"})
_DONE: Final = frozenset({"completed", "failed", "incomplete", "expired", "cancelled", "requires_action"})


def _pair(family: str, name: str, parameters: tuple[str, ...], **more: Any) -> list[Form]:
    return [Form(each, family, semconv.OP_CHAT, parameters, tells_failure=True, **more) for each in (name, f"a{name}")]


LATER: Final[dict[str, Form]] = {
    form.name: form
    for form in (
        *_pair(_RESPONSES, "get_responses", ("response_id",), api_type="responses"),
        *_pair(_RESPONSES, "cancel_responses", ("response_id",), api_type="responses"),
        *_pair(INTERACTIONS, "get", ("interaction_id",), native=True, home=INTERACTIONS),
        *_pair(INTERACTIONS, "cancel", ("interaction_id",), native=True, home=INTERACTIONS),
        *_pair(BATCH, "create_batch", ("completion_window", "endpoint", "input_file_id", "custom_llm_provider")),
        *_pair(BATCH, "retrieve_batch", ("batch_id", "custom_llm_provider")),
        *_pair(BATCH, "cancel_batch", ("batch_id", "model", "custom_llm_provider")),
    )
}
"""Functions of litellm that ask for work, or come back for it, by name."""


class _Asked(NamedTuple):
    """What was said when the work was asked for, or first seen undone."""

    model: str | None
    provider: str | None
    api_base: str | None
    identity: Identity


class Awaited:
    """The work that this process waits for. Safe to use from any thread."""

    def __init__(self) -> None:
        # Without a lock, which a fork could take along: each change is one step of a dict.
        self._asked: OrderedDict[tuple[str, str], _Asked] = OrderedDict()

    def note(self, request: Request, answer: object, identity: Identity) -> None:
        """Wait for what `answer` says is not done yet, which is for `identity`."""
        key = _key(request.form, answer) if is_undone(answer) else None
        if key is None:
            return
        self._asked.setdefault(key, _Asked(request.requested, request.provider, request.api_base, identity))
        if len(self._asked) > _MOST:
            with suppress(KeyError):  # another thread has just made room
                self._asked.popitem(last=False)

    def done(self, form: Form, said: Mapping[str, Any], answer: object, tenant_key: str) -> Request | None:
        """What stands for the work that `answer` says is done now; None where it is not, or is nothing to us.

        `said` are the arguments of the call that came back for it.
        """
        key = _key(form, answer) if text(get(answer, "status")) in _DONE else None
        asked = self._asked.pop(key, None) if key is not None else None
        if asked is None:
            return None
        provider = asked.provider or text(said.get("custom_llm_provider")) or text(hidden_of(answer).get("provider"))
        arguments = {
            "model": asked.model or text(get(answer, "model")),
            "custom_llm_provider": provider or ("openai" if form.family == BATCH else None),
            "api_base": asked.api_base or said.get("api_base"),
            "metadata": {
                tenant_key: asked.identity.tenant,
                "user_id": asked.identity.user,
                "session_id": asked.identity.session,
            },
        }
        return Request(_of_kind(form, answer), (), {name: value for name, value in arguments.items() if value})


AWAITED: Final = Awaited()
"""One per process, as litellm is."""


def is_undone(answer: object) -> bool:
    """Whether an answer says that the work is still to be done."""
    return text(get(answer, "status")) in _UNDONE


def _key(form: Form, answer: object) -> tuple[str, str] | None:
    identifier = vendor_id(text(get(answer, "id")))
    return None if identifier is None else (form.family, identifier)


def _of_kind(form: Form, answer: object) -> Form:
    """A batch's operation is that of its requests."""
    if form.family == BATCH and "embeddings" in (text(get(answer, "endpoint")) or ""):
        return Form(form.name, BATCH, semconv.OP_EMBEDDINGS, form.parameters, tells_failure=True)
    return form
