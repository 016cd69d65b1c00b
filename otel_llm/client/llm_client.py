"""`LLMClient`: one way to call models for many tenants.

    client = otel_llm.LLMClient(model="openai/gpt-4o-mini")
    answer = await client.generate(messages, tenant_id="acme", user_id="u1")
    answer = client.generate_sync(messages, tenant_id="acme")

litellm's Router makes the calls, with its retries and fallbacks, and its cache keeps the answers; what is added is who
the call is for, what that tenant may use, and a span that says how long a call had to wait.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics

from otel_llm import semconv
from otel_llm.client.limiter import Limiter, Limits
from otel_llm.client.routing import cache_control, estimated_tokens, know_model, make_router, used_tokens
from otel_llm.client.spending import Spending
from otel_llm.config import load
from otel_llm.context import current_identity, tenant
from otel_llm.control import running
from otel_llm.control.version import VERSION
from otel_llm.errors import BudgetExceededError, ConfigError, LimitExceededError
from otel_llm.instrumentation.functions.block import span
from otel_llm.instrumentation.litellm.guest import load_guest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from typing_extensions import Self

    from otel_llm.client.limiter import Reservation
    from otel_llm.config.model import ClientSettings
    from otel_llm.control.pipeline import Pipeline
    from otel_llm.instrumentation.functions.handle import Handle

__all__ = ["LLMClient"]

_logger = logging.getLogger(__name__)
_NOTICE_SECONDS = 1.0

_FILE_NAME = "spending.db"


class LLMClient:
    """Calls models through litellm's Router, within the limits and the budget of each tenant.

    `model` is the one that calls use which name none. `model_list` is a Router's own list of deployments, `router` a
    Router that is there already; without either, models are those of the setting `client.models`, and any of litellm's
    by its own name. `settings` are those of the table's group Client (`cache="memory"`, `requests_per_minute=60`),
    before the environment's and the file's.

    Starts recording with `configure()` where nothing records yet. Raises `ConfigError` for wrong settings and
    `InstrumentationError` where litellm is missing. May be used from any thread and event loop; `close` it, or use
    it in a `with` or `async with`, so that what was spent is written at once.
    """

    def __init__(
        self,
        *,
        model: str | None = None,
        model_list: Sequence[Mapping[str, Any]] | None = None,
        router: Any = None,
        **settings: object,
    ) -> None:
        config = load({f"client_{name}": value for name, value in settings.items()})
        allowed = config.client
        self._model = model
        self._settings = allowed
        self._library = load_guest()
        self._router = router if router is not None else make_router(self._library, allowed, model, model_list)
        self._limiter = Limiter(_limits(allowed))
        self._spending = Spending(config.state_dir / _FILE_NAME)
        self._budgets = {name: Decimal(value) for name, value in allowed.tenant_budgets.items()}
        self._warned: set[str] = set()
        self._tenant_default = config.tenant_default
        self._watched: Pipeline | None = None
        meter = metrics.get_meter("otel_llm", VERSION)
        self._waits = meter.create_histogram(
            "otel_llm.client.wait.duration", "s", "Time that calls waited for their tenant's rate limit."
        )
        self._refused = meter.create_counter(
            "otel_llm.client.refused", "{call}", "Calls that were not made, by reason: rate limit or budget."
        )
        if not self._watch():
            running.configure()
            if not self._watch() and (allowed.budget is not None or self._budgets):
                raise ConfigError(
                    "Budgets are set, but recording is off, and what is spent is counted on what is recorded. Turn the "
                    "setting `enabled` on, or take `client.budget` and `client.tenant_budgets` out."
                )

    # --- calling ---------------------------------------------------------------------------------------------

    async def generate(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tenant_id: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        model: str | None = None,
        stream: bool = False,
        **parameters: Any,
    ) -> Any:
        """Ask a model, for a tenant; `parameters` are those of litellm's `acompletion`.

        Returns what litellm returns: a `ModelResponse`, or with `stream` an async iterator of its chunks. What is not
        said of tenant, user and session comes from the surrounding `tenant` block. Raises `BudgetExceededError`
        and `LimitExceededError` before anything is sent, `ConfigError` where no model is named, and what litellm
        raises once retries and fallbacks are used up.
        """
        name = self._named(model)
        with tenant(tenant_id, user=user_id, session=session_id), self._recorded(name) as handle:
            who = self._who()
            if self._budget_of(who) is not None:
                await asyncio.to_thread(self._check_budget, who)
            with self._reserved(who, name, messages, parameters) as reservation:
                await asyncio.sleep(reservation.wait)
                self._note_wait(handle, reservation)
                arguments = self._arguments(name, messages, who, parameters, stream=stream)
                answer = await self._router.acompletion(**arguments)
            self._settle(reservation, answer, stream=stream)
            return answer

    def generate_sync(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tenant_id: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        model: str | None = None,
        stream: bool = False,
        **parameters: Any,
    ) -> Any:
        """The same as `generate`, for code without an event loop: the thread waits."""
        name = self._named(model)
        with tenant(tenant_id, user=user_id, session=session_id), self._recorded(name) as handle:
            who = self._who()
            self._check_budget(who)
            with self._reserved(who, name, messages, parameters) as reservation:
                time.sleep(reservation.wait)
                self._note_wait(handle, reservation)
                answer = self._router.completion(**self._arguments(name, messages, who, parameters, stream=stream))
            self._settle(reservation, answer, stream=stream)
            return answer

    # --- looking, ending ---------------------------------------------------------------------------------------

    def spent_today(self, tenant_id: str) -> Decimal:
        """USD that a tenant has spent today (UTC), over all processes of this service; may wait for the disk."""
        return self._spending.today(tenant_id)

    @property
    def router(self) -> Any:
        """The Router of litellm, for what it can do besides."""
        return self._router

    def close(self) -> None:
        """Write what was spent, and stop counting. Recording goes on."""
        running.flush(1.0)
        self._spending.save()
        if self._watched is not None:
            watch = self._watched.watch
            watch.watchers = tuple(found for found in watch.watchers if found != self._spending.note)
            self._watched = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    # --- inside --------------------------------------------------------------------------------------------------

    def _named(self, model: str | None) -> str:
        name = model or self._model
        if name is None:
            raise ConfigError(
                "No model is named: neither this call nor the client has one. Give `model=` to `LLMClient` or to the "
                "call."
            )
        return name

    def _who(self) -> str:
        return current_identity().tenant or self._tenant_default

    def _recorded(self, model: str) -> span:
        self._watch()
        return span("LLMClient.generate", attributes={semconv.CLIENT_MODEL: model})

    def _watch(self) -> bool:
        """Count what the pipeline that runs now records; False where none runs."""
        found = running.current_pipeline()
        if found is not None and found is not self._watched:
            found.watch.watchers = (*found.watch.watchers, self._spending.note)
            self._watched = found
        return found is not None

    def _budget_of(self, who: str) -> Decimal | None:
        own = self._budgets.get(who)
        if own is not None or self._settings.budget is None:
            return own
        return Decimal(str(self._settings.budget))

    def _check_budget(self, who: str) -> None:
        budget = self._budget_of(who)
        if budget is None:
            return
        watched = self._watched
        if watched is not None and watched.processor is not None:
            watched.processor.settle(_NOTICE_SECONDS)  # calls that have just ended count
        spent = self._spending.today(who)
        if spent < budget:
            self._warned.discard(who)
            return
        error = BudgetExceededError(who, spent=spent, budget=budget)
        if self._settings.on_budget == "refuse":
            self._refused.add(1, {"reason": "budget"})
            raise error
        if who not in self._warned:
            self._warned.add(who)
            _logger.warning("%s", error)

    @contextmanager
    def _reserved(
        self, who: str, model: str, messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]
    ) -> Iterator[Reservation]:
        """What the call in the block may use; given back where the block raises."""
        try:
            reservation = self._limiter.reserve(who, model, estimated_tokens(messages, parameters))
        except LimitExceededError:
            self._refused.add(1, {"reason": "rate_limit"})
            raise
        try:
            yield reservation
        except BaseException:
            self._limiter.cancel(reservation)
            raise

    def _note_wait(self, handle: Handle, reservation: Reservation) -> None:
        handle.set({semconv.CLIENT_WAITED: reservation.wait})
        self._waits.record(reservation.wait)

    def _arguments(
        self,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        who: str,
        parameters: Mapping[str, Any],
        *,
        stream: bool,
    ) -> dict[str, Any]:
        know_model(self._library, self._router, model)
        made: dict[str, Any] = {"model": model, "messages": list(messages), **parameters}
        if stream:
            made["stream"] = True
        if self._settings.cache != "none":
            made.setdefault("cache", cache_control(self._settings, who))
        return made

    def _settle(self, reservation: Reservation, answer: Any, *, stream: bool) -> None:
        """Replace the estimate by what was used; a stream keeps it, as it is not over."""
        if not stream:
            used = used_tokens(answer)
            if used is not None:
                self._limiter.settle(reservation, used)


def _limits(settings: ClientSettings) -> Limits:
    return Limits(
        requests=settings.requests_per_minute,
        tokens=settings.tokens_per_minute,
        tenant_requests={name: float(value) for name, value in settings.tenant_requests.items()},
        tenant_tokens={name: float(value) for name, value in settings.tenant_tokens.items()},
        wait=settings.on_limit == "wait",
        max_wait=settings.max_wait,
    )
