"""litellm's batch calls make each of their calls in a thread of a pool; it belongs to whoever called for the batch.

A new thread has an empty context, so the calls would be traces of their own, of no tenant. The pool's class is looked
up by the batch functions in their module when they run: there we put one that takes the context of now along.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from otel_llm.context import carry
from otel_llm.faults import guarded

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

__all__ = ["MODULE", "CarryingPools"]

MODULE: Final = "litellm.batch_completion.main"
"""Where `batch_completion` and its kin are."""
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
