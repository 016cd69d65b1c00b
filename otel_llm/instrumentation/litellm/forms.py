"""The call forms of litellm: which functions are recorded, and what each of them is in the conventions' words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from otel_llm import semconv

__all__ = [
    "BATCH",
    "BEDROCK",
    "BY_ADDRESS",
    "CONTENTS",
    "FORMS",
    "IMAGES",
    "INTERACTIONS",
    "MESSAGES",
    "PASSTHROUGH",
    "REALTIME",
    "RETRY_DRIVERS",
    "RUNS",
    "VIDEOS",
    "Form",
    "are_kin",
    "is_inner_half",
]


@dataclass(frozen=True, slots=True)
class Form:
    """One function of litellm that calls a model."""

    name: str
    family: str
    """The sync function's name; a function and its async twin are one family."""
    operation: str
    parameters: tuple[str, ...]
    """Names of the leading positional parameters, in order."""
    output_type: str | None = None
    api_type: str | None = None
    native: bool = False
    """Whether what it takes and answers is in a provider's own words, and not in OpenAI's."""
    tells_failure: bool = False
    """Whether an answer may say that the call failed, where nothing is raised."""
    streams: bool = False
    """Whether it answers in chunks without being asked to."""
    later: bool = False
    """Whether an answer may say that the work is still to be done."""
    raw: bool = False
    """Whether it takes and answers what goes over the wire."""
    home: str = ""
    """The module of litellm that has it, where it is not litellm itself."""

    @property
    def address(self) -> str:
        """Where it is, below litellm."""
        return f"{self.home}.{self.name}" if self.home else self.name

    @property
    def title(self) -> str:
        """Its name, with that of its module where the name alone says nothing."""
        return self.address if self.home == INTERACTIONS else self.name


def _pair(
    family: str,
    operation: str,
    parameters: tuple[str, ...],
    **more: Any,
) -> list[Form]:
    return [Form(name, family, operation, parameters, **more) for name in (family, f"a{family}")]


def _messages(name: str) -> Form:
    parameters = ("max_tokens", "messages", "model", "metadata", "stop_sequences", "stream", "system", "temperature")
    return Form(name, MESSAGES, semconv.OP_CHAT, parameters, native=True, tells_failure=True)


def _contents(name: str, *, streams: bool = False) -> Form:
    operation, parameters = semconv.OP_GENERATE_CONTENT, ("model", "contents", "config", "tools")
    return Form(
        name, CONTENTS, operation, parameters, native=True, tells_failure=True, streams=streams, home="google_genai"
    )


def _interaction(name: str) -> Form:
    operation, parameters = semconv.OP_CHAT, ("model", "agent", "input")
    return Form(
        name, INTERACTIONS, operation, parameters, native=True, tells_failure=True, later=True, home=INTERACTIONS
    )


BATCH: Final = "batch"
"""Family of the calls that ask for a batch, or come back for it."""
MESSAGES: Final = "anthropic_messages"
"""Family of the calls in Anthropic's words."""
CONTENTS: Final = "generate_content"
"""Family of the calls in Gemini's words."""
RUNS: Final = "run_thread"
"""Family of the runs of an assistant, as OpenAI has them."""
INTERACTIONS: Final = "interactions"
"""Family of the calls in the words of Gemini's Interactions, and litellm's module of them."""
PASSTHROUGH: Final = "llm_passthrough_route"
"""Family of what litellm passes through to a provider as it is."""
REALTIME: Final = "realtime"
"""Family of realtime sessions and their responses."""
BEDROCK: Final = "converse"
"""Family of what is passed through to Bedrock: calls in its words."""


FORMS: Final[dict[str, Form]] = {
    form.name: form
    for form in (
        *_pair("completion", semconv.OP_CHAT, ("model", "messages")),
        *_pair("text_completion", semconv.OP_TEXT_COMPLETION, ("prompt", "model")),
        *_pair("responses", semconv.OP_CHAT, ("input", "model"), api_type="responses", tells_failure=True, later=True),
        Form("compact_responses", "responses", semconv.OP_CHAT, ("input", "model"), api_type="responses", later=True),
        Form("acompact_responses", "responses", semconv.OP_CHAT, ("input", "model"), api_type="responses", later=True),
        _messages("anthropic_messages"),
        _messages("anthropic_messages_handler"),  # the sync one: `litellm.anthropic.messages.create`
        _contents("generate_content"),
        _contents("agenerate_content"),
        _contents("generate_content_stream", streams=True),
        _contents("agenerate_content_stream", streams=True),
        _interaction("create"),
        _interaction("acreate"),
        *_pair(PASSTHROUGH, semconv.OP_CHAT, ()),
        *_pair(RUNS, semconv.OP_CHAT, ("custom_llm_provider", "thread_id", "assistant_id"), tells_failure=True),
        *_pair("embedding", semconv.OP_EMBEDDINGS, ("model", "input")),
        *_pair("rerank", semconv.OP_RETRIEVAL, ("model", "query", "documents")),
        *_pair("image_generation", semconv.OP_GENERATE_CONTENT, ("prompt", "model"), output_type="image"),
        # The async one takes its arguments in another order.
        Form("image_edit", "image_edit", semconv.OP_GENERATE_CONTENT, ("image", "prompt", "model"), "image"),
        Form("aimage_edit", "image_edit", semconv.OP_GENERATE_CONTENT, ("image", "model", "prompt"), "image"),
        *_pair("image_variation", semconv.OP_GENERATE_CONTENT, ("image", "model"), output_type="image"),
        *_pair("video_generation", semconv.OP_GENERATE_CONTENT, ("prompt", "model"), home="videos", tells_failure=True),
        *_pair("video_remix", semconv.OP_GENERATE_CONTENT, ("video_id", "prompt"), home="videos", tells_failure=True),
        *_pair("video_edit", semconv.OP_GENERATE_CONTENT, ("video_id", "prompt"), home="videos", tells_failure=True),
        *_pair(
            "video_extension",
            semconv.OP_GENERATE_CONTENT,
            ("video_id", "prompt", "seconds"),
            home="videos",
            tells_failure=True,
        ),
        *_pair("ocr", semconv.OP_GENERATE_CONTENT, ("model", "document"), output_type="text", home="ocr"),
        *_pair("search", semconv.OP_RETRIEVAL, ("query", "search_provider"), home="search"),
        *_pair("transcription", semconv.OP_GENERATE_CONTENT, ("model", "file"), output_type="text"),
        *_pair("speech", semconv.OP_GENERATE_CONTENT, ("model", "input", "voice"), output_type="speech"),
        *_pair("moderation", semconv.OP_MODERATION, ("input", "model")),
    )
}
"""Every recorded function of the litellm module by name."""

BY_ADDRESS: Final = {form.address: form for form in FORMS.values()}
"""The same by where they are."""

IMAGES: Final = frozenset({"image_generation", "image_edit", "image_variation"})
"""Families whose answers are images."""

VIDEOS: Final = frozenset({"video_generation", "video_remix", "video_edit", "video_extension"})
"""Families whose answers are videos to come."""

RETRY_DRIVERS: Final = (
    "completion_with_retries",
    "acompletion_with_retries",
    "responses_with_retries",
    "aresponses_with_retries",
)
"""Functions that litellm itself enters after a first failure, to try again; some exist only in newer versions."""

_INNER_FLAGS: Final = {
    "completion": "acompletion",
    "text_completion": "atext_completion",
    "embedding": "aembedding",
    "responses": "aresponses",
    RUNS: "arun_thread",
    INTERACTIONS: "acreate_interaction",
    PASSTHROUGH: "allm_passthrough_route",
    "compact_responses": "acompact_responses",
    "rerank": "arerank",
    "image_generation": "aimg_generation",
    "image_edit": "async_call",
    "video_generation": "async_call",
    "video_remix": "async_call",
    "video_edit": "async_call",
    "video_extension": "async_call",
    "ocr": "aocr",
    "search": "asearch",
    "transcription": "atranscription",
    "speech": "aspeech",
    MESSAGES: "is_async",
    CONTENTS: "agenerate_content",
}


_FLAGS: Final = {name: _INNER_FLAGS.get(name) or _INNER_FLAGS.get(form.family) for name, form in FORMS.items()}


def is_inner_half(form: Form, kwargs: dict[str, Any]) -> bool:
    """Whether this is the sync function that litellm calls to do its own async twin's work."""
    flag = _FLAGS.get(form.name)
    return flag is not None and kwargs.get(flag) is True


def are_kin(form: Form, other: Form) -> bool:
    """Whether a call of one may be an attempt of the other."""
    return form.family == other.family or _called(form) == _called(other)


def _called(form: Form) -> str:
    """The family of the function; what is passed through is of the family of what it asks for."""
    return PASSTHROUGH if form.raw else form.family
