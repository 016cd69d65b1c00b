"""Functions with a span around them: whatever a function was to its callers, its wrapper is too.

A coroutine function stays one, a generator function stays one (frameworks ask), and `send`, `throw` and `close` reach
the original. A generator's span is current while it runs and not while its reader does.
"""

from __future__ import annotations

import functools
import inspect
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from otel_llm.instrumentation.functions.content import Arguments

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping, Sequence

    from otel_llm.instrumentation.functions.work import Plan, Work

__all__ = ["wrapped"]


def wrapped(function: Callable[..., Any], plan: Plan, ignored: Sequence[str] = ()) -> Callable[..., Any]:
    """`function` with a span of `plan` around each of its calls."""
    arguments = Arguments(function, ignored)
    if inspect.isasyncgenfunction(function):
        return _async_generator(function, plan, arguments)
    if inspect.iscoroutinefunction(function):
        return _coroutine(function, plan, arguments)
    if inspect.isgeneratorfunction(function):
        return _generator(function, plan, arguments)
    return _plain(function, plan, arguments)


def _reader(arguments: Arguments, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Mapping[str, Any]]:
    return lambda: arguments.by_name(args, kwargs)


def _plain(function: Callable[..., Any], plan: Plan, arguments: Arguments) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        work = plan.begin(_reader(arguments, args, kwargs))
        if work is None:
            return function(*args, **kwargs)
        work.enter()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            work.fail(error)
            raise
        # Another decorator may hide that this is a coroutine function. By `type`, which asks the program's object
        # nothing: the class of a lazy one is a query to its database.
        if type(result) is CoroutineType:
            work.leave()
            return _awaited(result, work)
        work.finish(result)
        return result

    return call


async def _awaited(coroutine: Coroutine[Any, Any, Any], work: Work) -> Any:
    work.enter()
    try:
        result = await coroutine
    except BaseException as error:
        work.fail(error)
        raise
    work.finish(result)
    return result


def _coroutine(function: Callable[..., Any], plan: Plan, arguments: Arguments) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        work = plan.begin(_reader(arguments, args, kwargs))
        if work is None:
            return await function(*args, **kwargs)
        work.enter()
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            work.fail(error)
            raise
        work.finish(result)
        return result

    return call


def _generator(function: Callable[..., Any], plan: Plan, arguments: Arguments) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = function(*args, **kwargs)
        work = plan.begin(_reader(arguments, args, kwargs))
        if work is None:
            return (yield from generator)
        return (yield from _driven(generator, work))

    return call


def _driven(generator: Generator[Any, Any, Any], work: Work) -> Generator[Any, Any, Any]:
    """What `yield from generator` does, each step within `work`."""
    sent: Any = None
    thrown: BaseException | None = None
    while True:
        work.enter()
        try:
            item = generator.send(sent) if thrown is None else generator.throw(thrown)
        except StopIteration as end:
            work.finish_stream()
            return end.value
        except BaseException as error:
            work.fail(error)
            raise
        work.leave()
        work.item(item)
        sent, thrown = None, None
        try:
            sent = yield item
        except GeneratorExit:
            _closed(generator, work)
            raise
        except BaseException as error:  # noqa: BLE001  (it is the reader's, and the generator's to answer)
            thrown = error


def _closed(generator: Generator[Any, Any, Any], work: Work) -> None:
    work.enter()
    try:
        generator.close()
    except BaseException as error:
        work.fail(error)
        raise
    work.close()


def _async_generator(function: Callable[..., Any], plan: Plan, arguments: Arguments) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator: AsyncGenerator[Any, Any] = function(*args, **kwargs)
        work = plan.begin(_reader(arguments, args, kwargs))
        sent: Any = None
        thrown: BaseException | None = None
        while True:  # `yield from` has no twin for async generators
            try:
                item = await _step(generator, sent, thrown, work)
            except StopAsyncIteration:
                return
            sent, thrown = None, None
            try:
                sent = yield item
            except GeneratorExit:
                await _aclosed(generator, work)
                raise
            except BaseException as error:  # noqa: BLE001  (it is the reader's, and the generator's to answer)
                thrown = error

    return call


async def _step(generator: AsyncGenerator[Any, Any], sent: Any, thrown: BaseException | None, work: Work | None) -> Any:
    """One step of an async generator, within `work`."""
    step = generator.asend(sent) if thrown is None else generator.athrow(thrown)
    if work is None:
        return await step
    work.enter()
    try:
        item = await step
    except StopAsyncIteration:
        work.finish_stream()
        raise
    except BaseException as error:
        work.fail(error)
        raise
    work.leave()
    work.item(item)
    return item


async def _aclosed(generator: AsyncGenerator[Any, Any], work: Work | None) -> None:
    if work is None:
        await generator.aclose()
        return
    work.enter()
    try:
        await generator.aclose()
    except BaseException as error:
        work.fail(error)
        raise
    work.close()
