"""`opik_trace`: takes what users of Opik's `@track` write, so that code moves here by one import.

    from otel_llm import opik_trace as track

Source: `opik.decorator.base_track_decorator.BaseTrackDecorator.track` of opik 1.9 to 2.2. Two differences: content is
recorded as the content policy says (Opik: always), and what is recorded goes to whatever backend is configured.
"""

# The names and the order of arguments are Opik's.
# ruff: noqa: A002, FBT001, FBT002, PLR0913, PLR0917

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from otel_llm import semconv
from otel_llm.instrumentation.functions.decorator import Decorator, decorator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otel_llm.instrumentation.functions.decorator import Capture

__all__ = ["opik_trace"]

Function = TypeVar("Function", bound=Callable[..., Any])

_OPERATIONS: Final = {"tool": "tool"}
"""Opik's span types that the conventions have a word for; the others are told to Opik by its own attribute."""


@overload
def opik_trace(
    name: str | None = None,
    type: str = "general",
    tags: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    capture_input: bool = True,
    ignore_arguments: Sequence[str] | None = None,
    capture_output: bool = True,
    generations_aggregator: Callable[[list[Any]], Any] | None = None,
    flush: bool = False,
    project_name: str | None = None,
    create_duplicate_root_span: bool = True,
    entrypoint: bool = False,
    source: object = None,
    environment: str | None = None,
) -> Decorator: ...
@overload
def opik_trace(name: Function, /) -> Function: ...
def opik_trace(
    name: str | Callable[..., Any] | None = None,
    type: str = "general",
    tags: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    capture_input: bool = True,
    ignore_arguments: Sequence[str] | None = None,
    capture_output: bool = True,
    generations_aggregator: Callable[[list[Any]], Any] | None = None,
    flush: bool = False,
    project_name: str | None = None,
    create_duplicate_root_span: bool = True,
    entrypoint: bool = False,
    source: object = None,
    environment: str | None = None,
) -> Any:
    """Record each call of a function as a span, in the words of Opik's `@track`.

    `type` is Opik's span type (`general`, `tool`, `llm`, `guardrail`), `project_name` the Opik project of this span.
    `flush`, `create_duplicate_root_span`, `entrypoint` and `source` are taken and change nothing: spans are durable
    without a flush, and the others are the SDK's own business. All else is as in `otel_llm.trace`.
    """
    del flush, create_duplicate_root_span, entrypoint, source
    if name is not None and not isinstance(name, str):
        return decorator(None)(name)
    attributes: dict[str, object] = {}
    if type not in {"general", *_OPERATIONS}:
        attributes[semconv.OPIK_SPAN_TYPE] = type
    if tags:
        attributes[semconv.TAGS] = list(tags)
    if project_name:
        attributes[semconv.OPIK_PROJECT] = project_name
    if environment:
        attributes[semconv.DEPLOYMENT_ENVIRONMENT] = environment
    attributes.update({f"{semconv.OPIK_METADATA_PREFIX}{key}": value for key, value in (metadata or {}).items()})
    return decorator(
        name,
        operation=_OPERATIONS.get(type),
        capture=_capture(wants_input=capture_input, wants_output=capture_output),
        ignore=tuple(ignore_arguments or ()),
        attributes=attributes,
        aggregate=generations_aggregator,
    )


def _capture(*, wants_input: bool, wants_output: bool) -> Capture:
    if wants_input and wants_output:
        return True
    if wants_input:
        return "input"
    return "output" if wants_output else False
