"""Where the calls of `litellm.Router` come in, and what each of them asks for.

There are three kinds of Router. In older versions all calls pass through one sync and one async method, which are told
what to call. In 1.109 those are methods of a class behind Router. From 1.110 on Router is a shell around a core, whose
class litellm imports when the first Router is made: its methods are the call forms themselves, but for a few that are
made when asked for and share one driver.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from otel_llm import semconv
from otel_llm.instrumentation.litellm.forms import BY_ADDRESS, FORMS, Form
from otel_llm.instrumentation.litellm.reading import path, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import ModuleType

__all__ = ["CORE", "METHODS", "RoutedCall", "core_methods", "has_core", "is_mirrored", "router_methods"]

METHODS: Final = (
    "function_with_fallbacks",
    "async_function_with_fallbacks",
    "_generic_api_call_with_fallbacks",
)
"""Methods of an older Router that its calls pass through: to retry and fall back, and what it only tries once."""

CORE: Final = "litellm.router_rust.core"
"""Module of a newer Router's core."""
_CORE_CLASS: Final = "RustCore"
_CORE_DRIVER: Final = "_call_sync"
"""Method of the core that all its sync calls pass through; some (`responses`) have no method of their own."""
_ENDPOINTS_CLASS: Final = "RustEndpoints"
_ENDPOINTS_DRIVER: Final = "_ageneric"
"""Method of the class beside the core that its async calls pass through where the core has none of their own."""


@dataclass(frozen=True, slots=True)
class RoutedCall:
    """One call of a Router."""

    form: Form
    router: object
    """Has the deployments: `model_list`."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


Reading: TypeAlias = "Callable[[tuple[Any, ...], dict[str, Any]], RoutedCall | None]"
"""What a call of the method stands for, by its arguments (the Router first); None for what we do not record."""


def router_methods(library: ModuleType) -> Iterator[tuple[object, Reading]]:
    """Methods of an older Router, each with how its calls are read."""
    router = getattr(library, "Router", None)
    behind = inspect.getattr_static(router, "_core_class", None)
    for name in METHODS:
        for owner in (router, behind):
            method = inspect.getattr_static(owner, name, None)  # to ask a newer Router would import its core
            if method is not None:
                yield method, _named_function
                break


def has_core() -> bool:
    """Whether there is a core of the newest kind, which need not be imported yet."""
    try:
        return importlib.util.find_spec(CORE) is not None
    except ModuleNotFoundError:  # the package that it would be in
        return False


def core_methods(module: ModuleType) -> Iterator[tuple[object, Reading]]:
    """Methods of a newer Router's core, each with how its calls are read. Nothing where there is no such class."""
    core = getattr(module, _CORE_CLASS, None)
    for form in FORMS.values():
        method = inspect.getattr_static(core, form.name, None)
        if method is not None:
            yield method, functools.partial(_own_method, _as_routers_take_it(form))
    driver = inspect.getattr_static(core, _CORE_DRIVER, None)
    if driver is not None:
        yield driver, _driven
    generic = inspect.getattr_static(getattr(module, _ENDPOINTS_CLASS, None), _ENDPOINTS_DRIVER, None)
    if generic is not None:
        yield generic, _driven_beside


def is_mirrored(arguments: Mapping[str, Any]) -> bool:
    """Whether the Router itself makes this call, beside one of the program's, to try a model out (`silent_model`)."""
    return path(arguments, "metadata", "is_silent_experiment") is True


def _named_function(args: tuple[Any, ...], kwargs: dict[str, Any]) -> RoutedCall | None:
    target = kwargs.get("original_generic_function") or kwargs.get("original_function")
    form = FORMS.get(getattr(target, "__name__", "").lstrip("_"))
    if form is not None and form.home and not getattr(target, "__module__", "").startswith(f"litellm.{form.home}"):
        form = None  # another of the same name: `vector_stores` has a `search`, too
    return RoutedCall(form, args[0], (), kwargs) if form is not None else None


def _own_method(form: Form, args: tuple[Any, ...], kwargs: dict[str, Any]) -> RoutedCall:
    return RoutedCall(form, args[0], args[1:], kwargs)


def _driven(args: tuple[Any, ...], _: Mapping[str, Any]) -> RoutedCall | None:
    core, plan, request = args[:3]
    form = BY_ADDRESS.get(text(getattr(plan, "host_op", None)) or "")
    return RoutedCall(form, core, (), dict(request)) if form is not None else None


def _driven_beside(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> RoutedCall | None:
    return _driven((path(args[0], "_core", "router"), *args[1:]), kwargs)


def _as_routers_take_it(form: Form) -> Form:
    """A Router takes the model first where litellm's own function takes the prompt first."""
    return replace(form, parameters=("model", "prompt")) if form.operation == semconv.OP_TEXT_COMPLETION else form
