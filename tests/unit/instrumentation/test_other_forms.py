"""OCR, search, videos and variations of images: one span each, with target, cost and errors."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import litellm
import pytest

from otel_llm import semconv
from tests.unit.instrumentation.calls import PNG, run
from tests.unit.instrumentation.recorded import attributes, failed
from tests.unit.instrumentation.test_garbage import left_for_the_collector

if TYPE_CHECKING:
    from otel_llm.testing import FakeProvider
    from tests.unit.instrumentation.recorded import Spans


@dataclass(frozen=True)
class Other:
    """A call and what is answered."""

    asked: dict[str, Any]
    answer: dict[str, Any]
    span: str
    provider: str
    under: str = ""
    """What comes behind the server's address."""


OTHERS = {
    "image_variation": Other(
        {"image": ("moon.png", PNG), "model": "openai/dall-e-2"},
        {"created": 1, "data": [{"url": "https://example.org/moon.png"}]},
        "generate_content dall-e-2",
        "openai",
        under="/v1",
    ),
    "ocr": Other(
        {
            "model": "mistral/mistral-ocr-latest",
            "document": {"type": "document_url", "document_url": "https://x/y.pdf"},
        },
        {
            "pages": [{"index": 0, "markdown": "# Moon"}],
            "model": "mistral-ocr-latest",
            "usage_info": {"pages_processed": 1, "doc_size_bytes": 10},
        },
        "generate_content mistral-ocr-latest",
        "mistral_ai",
        under="/v1",
    ),
    "search": Other(
        {"query": "moon", "search_provider": "tavily"},
        {"results": [{"title": "Moon", "url": "https://example.org", "content": "far", "score": 0.9}]},
        "retrieval",
        "tavily",
    ),
    "video_generation": Other(
        {"prompt": "a moon", "model": "openai/sora-2", "seconds": "4"},
        {"id": "video_1", "object": "video", "status": "queued", "created_at": 1, "model": "sora-2", "seconds": "4"},
        "generate_content sora-2",
        "openai",
        under="/v1",
    ),
    "video_remix": Other(
        {"video_id": "video_1", "prompt": "more moon", "custom_llm_provider": "openai"},
        {"id": "video_2", "object": "video", "status": "queued", "created_at": 1, "model": "sora-2", "seconds": "4"},
        "generate_content",
        "openai",
        under="/v1",
    ),
    "video_edit": Other(
        {"video_id": "video_1", "prompt": "more moon", "custom_llm_provider": "openai"},
        {"id": "video_3", "object": "video", "status": "queued", "created_at": 1, "model": "sora-2", "seconds": "4"},
        "generate_content",
        "openai",
        under="/v1",
    ),
    "video_extension": Other(
        {"video_id": "video_1", "prompt": "more moon", "seconds": "4", "custom_llm_provider": "openai"},
        {"id": "video_4", "object": "video", "status": "queued", "created_at": 1, "model": "sora-2", "seconds": "4"},
        "generate_content",
        "openai",
        under="/v1",
    ),
}
of_videos = pytest.mark.skipif(
    version("litellm").startswith("1.79.") and sys.version_info < (3, 11),
    reason="this litellm derives the type of a video from typing.Any, and Python 3.10 refuses",
)


def _named(name: str) -> Any:
    missing = pytest.mark.skipif(not hasattr(litellm, name), reason="this litellm has no such function")
    return pytest.param(name, marks=(missing, of_videos) if "video" in name else missing)


NAMES = [_named(name) for family in OTHERS for name in (family, f"a{family}")]


def _call(name: str, provider: FakeProvider) -> Any:
    other = OTHERS[name.removeprefix("a")]

    async def call() -> Any:
        return await getattr(litellm, name)(**asked)

    asked = {**other.asked, "api_base": provider.url + other.under, "api_key": "sk-test"}
    return run(call) if name not in OTHERS else getattr(litellm, name)(**asked)


@pytest.mark.parametrize("name", NAMES)
def test_a_call_is_one_span(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A call is one span with target and cost; no tokens are made up, and no content is shown."""
    other = OTHERS[name.removeprefix("a")]
    provider.json(other.answer)
    _call(name, provider)
    assert spans.only.name == other.span
    facts = spans.facts
    assert facts[semconv.PROVIDER_NAME] == other.provider
    assert facts[semconv.SERVER_ADDRESS] == "127.0.0.1"
    assert facts[semconv.OPERATION_DETAIL] == name
    if other in (OTHERS["video_edit"], OTHERS["video_extension"]):  # litellm does not say how long they get
        assert facts[semconv.COST_STATUS] == semconv.COST_UNKNOWN
    elif other is not OTHERS["image_variation"] or "1024-x-1024/dall-e-2" in litellm.model_cost:  # newer tables lack it
        assert facts[semconv.COST] > 0
        assert facts[semconv.COST_STATUS] == semconv.COST_PRICED
    assert not {semconv.USAGE_INPUT, semconv.USAGE_OUTPUT, *semconv.CONTENT_ATTRIBUTES} & facts.keys()
    assert not failed(spans.only)


@pytest.mark.parametrize("name", NAMES)
def test_content_is_on_the_span_where_asked_for(name: str, provider: FakeProvider, full_spans: Spans) -> None:
    """What was asked and what came back, in the conventions' words."""
    provider.json(OTHERS[name.removeprefix("a")].answer)
    _call(name, provider)
    said = {key: full_spans.facts.get(key) for key in semconv.CONTENT_ATTRIBUTES}
    if "search" in name:
        assert said[semconv.RETRIEVAL_QUERY_TEXT] == "moon"
        assert json.loads(said[semconv.RETRIEVAL_DOCUMENTS])[0]["id"] == "https://example.org"
    elif "ocr" in name:
        assert "# Moon" in said[semconv.OUTPUT_MESSAGES]
    elif "video" in name:
        assert f"{'a' if 'generation' in name else 'more'} moon" in said[semconv.INPUT_MESSAGES]
    else:
        assert "https://example.org/moon.png" in said[semconv.OUTPUT_MESSAGES]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("status", [401, 500])
def test_a_refusal_is_recorded(status: int, name: str, provider: FakeProvider, spans: Spans) -> None:
    """A refusal is one span, an error."""
    provider.error(status, times=None)
    with pytest.raises(Exception, match=r"\S"):
        _call(name, provider)
    assert failed(spans.only)
    assert spans.facts[semconv.ERROR_TYPE]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("body", [b'{"pa', b"[]", b"{}"])
def test_garbage_harms_nobody(body: bytes, name: str, provider: FakeProvider, spans: Spans) -> None:
    """Whatever is sent, there is one span, and the program sees what it would see without us."""
    provider.malformed(body, times=None)
    try:
        _call(name, provider)
    except Exception as error:
        raised = type(error)
        assert attributes(spans.only)[semconv.ERROR_TYPE].endswith(raised.__name__)
    assert spans.only.name == OTHERS[name.removeprefix("a")].span


@of_videos
def test_a_video_that_failed_is_an_error(provider: FakeProvider, spans: Spans) -> None:
    """`status: failed` is an error of a video, too."""
    error = {"code": "moderation_blocked", "message": "No."}
    provider.json({**OTHERS["video_generation"].answer, "status": "failed", "error": error})
    _call("video_generation", provider)
    assert failed(spans.only)
    assert spans.facts[semconv.ERROR_TYPE] == "moderation_blocked"


@pytest.mark.parametrize("name", [_named("aocr"), _named("avideo_generation")])
def test_a_router_call_is_one_span(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A Router's call is one logical span with the group's name and what it cost."""
    other = OTHERS[name[1:]]
    asked = {**other.asked, "model": "group"}
    target = {"model": other.asked["model"], "api_base": provider.url + other.under, "api_key": "sk-test"}
    routing = litellm.Router(model_list=[{"model_name": "group", "litellm_params": target}], num_retries=0)
    provider.json(other.answer)

    async def call() -> None:
        await getattr(routing, name)(**asked)

    run(call)
    assert spans.only.name == "generate_content group"
    assert spans.facts[semconv.COST] > 0
    assert spans.facts[semconv.PROVIDER_NAME] == other.provider


@pytest.mark.parametrize("name", NAMES)
def test_a_call_leaves_no_cycles(name: str, provider: FakeProvider, full_spans: Spans) -> None:
    """What a call leaves behind goes without Python's collector."""
    provider.json(OTHERS[name.removeprefix("a")].answer, times=None)
    assert left_for_the_collector(lambda: _call(name, provider), full_spans) == set()
