"""litellm's batch calls make each of their calls in a thread of a pool; it belongs to whoever called for the batch.

A new thread has an empty context, so the calls would be traces of their own, of no tenant. The pool's class is looked
up by the batch functions in their module when they run: there we put one that takes the context of now along. One of
them looks it up in the standard library, which is not ours to change; it runs with a `litellm` whose `completion` takes
the context along.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from otel_llm.context import carry
from otel_llm.faults import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

__all__ = ["MODULE", "CarryingPools", "diversions"]

MODULE: Final = "litellm.batch_completion.main"
"""Where `batch_completion` and its kin are."""
_WITH_POOLS_OF_ITS_OWN: Final = "batch_completion_models_all_responses"
_LIBRARY: Final = "litellm"
_POOL: Final = "ThreadPoolExecutor"


class _CarryingPool(ThreadPoolExecutor):
    """A pool whose threads work in the context in which the work was handed in."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As the standard library's."""
        return super().submit(guarded("taking a batch's context along", carry, fn) or fn, *args, **kwargs)


class CarryingPools:
    """The batch functions' pools, ours until `restore`. Nothing where they do not use the standard library's."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        if getattr(module, _POOL, None) is ThreadPoolExecutor:
            setattr(module, _POOL, _CarryingPool)

    def restore(self) -> None:
        """Give litellm the standard library's pools back."""
        if getattr(self._module, _POOL, None) is _CarryingPool:
            setattr(self._module, _POOL, ThreadPoolExecutor)


def diversions(module: ModuleType) -> Iterator[tuple[object, Callable[..., Any]]]:
    """Functions that this version has, each with what it is to be diverted to."""
    function = getattr(module, _WITH_POOLS_OF_ITS_OWN, None)
    if function is not None:
        yield function, _run_carrying


def _run_carrying(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    carrying = guarded("taking a batch's context along", _carrying, original)
    return (carrying or original)(*args, **kwargs)


def _carrying(original: Any) -> Callable[..., Any]:
    """The same function, but what it finds as `litellm` is ours."""
    names = {**original.__globals__, _LIBRARY: _CarryingLibrary(original.__globals__[_LIBRARY])}
    made = FunctionType(original.__code__, names, original.__name__, original.__defaults__, original.__closure__)
    made.__kwdefaults__ = original.__kwdefaults__
    return made


class _CarryingLibrary:
    """litellm, whose `completion` runs in the context in which it was looked up."""

    def __init__(self, library: ModuleType) -> None:
        self._library = library

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._library, name)
        return guarded("taking a batch's context along", carry, found) or found if name == "completion" else found
