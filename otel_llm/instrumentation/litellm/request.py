"""What a call asks for: its target, who it is for, its parameters and its content."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import TYPE_CHECKING, Any, Final

from otel_llm import semconv
from otel_llm.context import NOBODY, Identity
from otel_llm.faults import guarded
from otel_llm.instrumentation.litellm import anthropic_words, bedrock_words, gemini_words, interaction_words
from otel_llm.instrumentation.litellm.asked import content_asked, strings, tools_asked
from otel_llm.instrumentation.litellm.forms import BEDROCK, CONTENTS, INTERACTIONS, MESSAGES, RUNS
from otel_llm.instrumentation.litellm.guest import locate, provider_name, resolve
from otel_llm.instrumentation.litellm.keeping import ATOMS, kept_arguments
from otel_llm.instrumentation.litellm.passthrough import arguments_within
from otel_llm.instrumentation.litellm.reading import get, items, number, path, readable, text, tokens
from otel_llm.instrumentation.recorder import Call
from otel_llm.instrumentation.shaped import content_json
from otel_llm.values import to_attribute

if TYPE_CHECKING:
    from otel_llm.instrumentation.litellm.forms import Form
    from otel_llm.instrumentation.recorder import Facts

__all__ = ["Request", "fill_request", "identity_of", "plain_arguments", "set_content"]

_TENANT_KEY = "tenant_id"
_WORDS: Final[Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    MESSAGES: anthropic_words.chat_words,
    CONTENTS: gemini_words.chat_words,
    BEDROCK: bedrock_words.chat_words,
    INTERACTIONS: interaction_words.chat_words,
}
"""Family of calls in a provider's own words -> what tells their arguments in those of litellm's chat."""


class Request:
    """A call as it was made: form, arguments by name, and where it goes.

    `model` is the name without litellm's provider prefix; `provider` is litellm's own name for it.
    """

    def __init__(self, form: Form, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.form = form
        said = {**dict(zip(form.parameters, args, strict=False)), **kwargs}
        self.arguments: dict[str, Any] = {
            name: value for name, value in said.items() if type(value) in ATOMS or readable(value)
        }
        if form.raw:
            self.arguments = arguments_within(self.arguments)
        if form.native:
            self.arguments = _WORDS[form.family](self.arguments)
        if form.streams:
            self.arguments["stream"] = True
        named = self.arguments.get("model")
        self.requested = named if isinstance(named, str) and named else None
        self.model: str | None
        self.provider: str | None
        if self.requested is None:
            said = self.arguments
            provider = text(said.get("custom_llm_provider")) or text(said.get("search_provider"))
            self.model, self.provider, self.api_base = None, provider, text(said.get("api_base"))
        else:
            self.model, self.provider, self.api_base = resolve(self.requested, self.arguments)
        self.target = self._target()
        """What a fallback changes: the Router's model group where there is one, else model and provider. Taken down
        now: older Routers write the next group into the same metadata."""
        metadata = self.arguments.get("metadata")
        self.named = frozenset(dict.keys(metadata)) if isinstance(metadata, dict) else frozenset()
        """Entries that the call's metadata has now: Routers write more of their own into it while they try."""

        self.from_cache = False
        """Whether litellm's response cache answered."""
        self.bought: object = None
        """The provider's answer, where the cache had a part and it was asked for the rest; None otherwise."""

    @property
    def stream(self) -> bool:
        """Whether the answer is asked for in chunks."""
        return self.arguments.get("stream") is True

    def _target(self) -> object:
        for name in ("metadata", "litellm_metadata"):
            group = get(self.arguments.get(name), "model_group")
            if isinstance(group, str):
                return group
        return self.model, self.provider

    def keep(self, *, content: bool) -> None:
        """Hold on to the arguments as they are now, for when there is time to read them."""
        self.arguments = kept_arguments(self.form, self.arguments, content=content)

    def route(self, router: object) -> None:
        """Take from the Router what all deployments of the model group that was asked for have in common."""
        self.model, self.provider, self.api_base = self.requested, None, None
        found = []
        for deployment in items(get(router, "model_list")):
            parameters = get(deployment, "litellm_params")
            model = text(get(parameters, "model"))
            if get(deployment, "model_name") == self.requested and model is not None:
                found.append(resolve(model, dict(parameters))[1:])
        providers, bases = ({each[place] for each in found} for place in (0, 1))
        self.provider = providers.pop() if len(providers) == 1 else None
        self.api_base = bases.pop() if len(bases) == 1 else None

    def call(self, *, tenant_key: str = _TENANT_KEY) -> Call:
        """The same in the recorder's words."""
        address, port = locate(self.api_base)
        return Call(
            operation=self.form.operation,
            provider=provider_name(self.provider),
            model=self.model,
            server_address=address,
            server_port=port,
            identity=identity_of(self.arguments, tenant_key=tenant_key),
        )


def plain_arguments(form: Form, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by name that no class of the program's has a part in."""
    said = {**dict(zip(form.parameters, args, strict=False)), **kwargs}
    return {name: value for name, value in said.items() if type(value) in ATOMS}


def identity_of(arguments: Mapping[str, Any], *, tenant_key: str = _TENANT_KEY) -> Identity:
    """Tenant, user and session that a call names itself: `metadata={"tenant_id": ...}` and `user=`."""
    metadata = arguments.get("metadata")
    if metadata is None or not isinstance(metadata, Mapping):
        user = _name(arguments.get("user"))
        return NOBODY if user is None else Identity(user=user)
    return Identity(
        tenant=_name(metadata.get(tenant_key)),
        user=_name(metadata.get("user_id")) or _name(arguments.get("user")),
        session=_name(metadata.get("session_id")) or _name(metadata.get("thread_id")),
    )


def fill_request(facts: Facts, request: Request, *, content: bool = False, within: Request | None = None) -> None:
    """Put what the call asks for on its span; messages only where `content` says so.

    `within` is the program's call that this one is an attempt of: what litellm adds to its metadata is left out.
    """
    arguments = request.arguments
    facts.set(
        {
            semconv.OPERATION_DETAIL: request.form.title,
            semconv.OPENAI_API_TYPE: request.form.api_type,
            semconv.OPENAI_REQUEST_SERVICE_TIER: text(arguments.get("service_tier")),
            semconv.CACHE_HIT: False,
        }
    )
    if request.form.operation == semconv.OP_EMBEDDINGS:
        facts.set(
            {
                semconv.EMBEDDINGS_DIMENSION_COUNT: tokens(arguments.get("dimensions")),
                semconv.REQUEST_ENCODING_FORMATS: _one(text(arguments.get("encoding_format"))),
            }
        )
    elif request.form.operation == semconv.OP_RETRIEVAL:
        facts.set({semconv.RETRIEVAL_TOP_K: tokens(arguments.get("top_n"))})
    elif request.form.family == "responses":
        conversation = arguments.get("conversation")
        facts.set({semconv.CONVERSATION_ID: text(conversation) or text(get(conversation, "id"))})
    elif request.form.family == RUNS:
        facts.set(
            {
                semconv.CONVERSATION_ID: text(arguments.get("thread_id")),
                semconv.AGENT_ID: text(arguments.get("assistant_id")),
            }
        )
    # A value of the program's whose class raises costs what it stands for, and nothing else.
    if request.form.operation not in _WITHOUT_PARAMETERS:
        guarded("reading a request", _fill_parameters, facts, request)
    only = None if within is None else within.named
    guarded("reading a request", _fill_metadata, facts, arguments.get("metadata"), only)
    if content:
        for read in (tools_asked, content_asked):
            guarded("reading a request", _set_content_of, facts, request, read)


def _set_content_of(facts: Facts, request: Request, read: Callable[[Request], dict[str, object]]) -> None:
    set_content(facts, read(request))


def set_content(facts: Facts, content: Mapping[str, object]) -> None:
    """Put content on the span as JSON text, safe whatever it holds; what had to be replaced is named."""
    for key, value in content.items():
        if not value:
            continue
        made = value if isinstance(value, str) else None
        replaced = False
        if made is None:
            made, replaced = content_json(key, value)
        facts.set({key: made})
        if replaced:
            facts.attributes.setdefault(semconv.REPLACED, []).append(key)


def _fill_parameters(facts: Facts, request: Request) -> None:
    attributes, arguments = facts.attributes, request.arguments
    for name in arguments.keys() & _PARAMETERS.keys():
        key, read = _PARAMETERS[name]
        value = read(arguments[name])
        if value is not None:
            attributes[key] = value
    for name in _LIMITS:
        limit = tokens(arguments.get(name))
        if limit is not None:
            attributes[semconv.REQUEST_MAX_TOKENS] = limit
            break
    effort = text(path(arguments, "reasoning", "effort"))
    if effort:
        attributes.setdefault(semconv.REQUEST_REASONING_LEVEL, effort)
    facts.set({semconv.OUTPUT_TYPE: request.form.output_type or _output_type(arguments)})


def _whole(value: object) -> int | None:
    return value if type(value) is int else None


def _several(value: object) -> int | None:
    count = tokens(value)
    return count if count != 1 else None


def _if_true(value: object) -> bool | None:
    return True if value is True else None


def _output_type(arguments: Mapping[str, Any]) -> str | None:
    """The conventions' output type that was asked for: `json`, `text`, `speech`, or None where nothing was."""
    asked = arguments.get("response_format")
    if asked is None and "text" not in arguments and "modalities" not in arguments:
        return None
    if isinstance(asked, type):
        return "json"
    kind = text(get(asked, "type")) or text(path(arguments, "text", "format", "type"))
    if kind in {"json_object", "json_schema"}:
        return "json"
    if "audio" in items(arguments.get("modalities")):
        return "speech"
    return "text" if kind == "text" else None


def _fill_metadata(facts: Facts, metadata: object, only: Container[object] | None) -> None:
    """Tags and scalar entries of `metadata`, of those in `only`; nested values belong to litellm and stay out."""
    if metadata is None or not isinstance(metadata, Mapping):
        return
    tags = [tag for tag in items(metadata.get("tags")) if isinstance(tag, str)]
    if tags:
        facts.set({semconv.TAGS: tags})
    for key, value in metadata.items():
        if not isinstance(key, str) or _litellms_own(key) or not readable(value):
            continue
        if only is not None and key not in only:
            continue
        if isinstance(value, (str, bool, int, float)):
            attribute, _ = to_attribute(value)
            facts.set({semconv.METADATA_PREFIX + key: attribute})


def _litellms_own(key: str) -> bool:
    """Entries that litellm's router and proxy add: routing data and key hashes, not the caller's words."""
    return key in _LITELLM_METADATA or key.startswith(("user_api_key", "litellm_", "model_group", "_"))


_LITELLM_METADATA = frozenset(
    {
        "tenant_id", "user_id", "session_id", "thread_id", "deployment", "api_base", "caching_groups", "model_info",
        "attempted_fallbacks", "original_model_group", "previous_models", "deployment_model_name", "endpoint",
        "requester_ip_address", "headers", "hidden_params", "attempted_retries", "max_retries", "request_retry_count",
        "adaptive_router_chosen_model",
    }
)  # fmt: skip


_WITHOUT_PARAMETERS = frozenset({semconv.OP_EMBEDDINGS, semconv.OP_RETRIEVAL})
_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_PARAMETERS: dict[str, tuple[str, Callable[[object], Any]]] = {
    "temperature": (semconv.REQUEST_TEMPERATURE, number),
    "top_p": (semconv.REQUEST_TOP_P, number),
    "top_k": (semconv.REQUEST_TOP_K, tokens),
    "frequency_penalty": (semconv.REQUEST_FREQUENCY_PENALTY, number),
    "presence_penalty": (semconv.REQUEST_PRESENCE_PENALTY, number),
    "seed": (semconv.REQUEST_SEED, _whole),
    "stop": (semconv.REQUEST_STOP_SEQUENCES, strings),
    "n": (semconv.REQUEST_CHOICE_COUNT, _several),
    "reasoning_effort": (semconv.REQUEST_REASONING_LEVEL, text),
    "previous_response_id": (semconv.REQUEST_PREVIOUS_RESPONSE_ID, text),
    "stream": (semconv.REQUEST_STREAM, _if_true),
}
"""Argument -> attribute, and how its value is read."""


def _one(value: str | None) -> list[str] | None:
    return [value] if value else None


def _name(value: object) -> str | None:
    if value is None or not readable(value):
        return None
    if isinstance(value, str):
        return value or None
    if not isinstance(value, int) or isinstance(value, bool) or value.bit_length() > _LONGEST_NAME_BITS:
        return None
    return str(value)


_LONGEST_NAME_BITS: Final = 128
"""Of a number that names somebody: a UUID fits, and Python refuses to write down what has thousands of digits."""
