"""Assembly: the one place where settings become a working pipeline.

    LLM call -> recorder -> SpanPipeline (identity, overlap, sampling, content, limits, redaction, counting)
                                  -> queue -> exporter -> backend
                                       \\-> spool -> courier -> backend

Backends on this machine (local, file, console) are written to directly; backends behind a network get their
batches through the spool on disk. Each has its own queue, so a slow one never holds up another.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.trace import SpanProcessor, SynchronousMultiSpanProcessor, TracerProvider

from otel_llm import backends, semconv
from otel_llm.clock import monotonic
from otel_llm.config import CLIENT_LIBRARIES, NO_BACKEND, ON_THIS_MACHINE
from otel_llm.control.captured import capture_in_force
from otel_llm.control.channels import DirectChannel, hand_over_delay
from otel_llm.control.home import Home
from otel_llm.control.metric_export import MetricExport
from otel_llm.control.runtime_context import complete_context
from otel_llm.control.version import VERSION
from otel_llm.instrumentation.functions.tracing import Tracing, use_tracing
from otel_llm.instrumentation.http import HttpInstrumentation
from otel_llm.instrumentation.litellm import switch as litellm_switch
from otel_llm.instrumentation.litellm.price_table import price_table
from otel_llm.instrumentation.recorder import Recorder
from otel_llm.loading import loading
from otel_llm.plain import use_max_bytes
from otel_llm.processors.call_metrics import CallMetrics, MeterSink, PageSink
from otel_llm.processors.chain import SpanPipeline
from otel_llm.processors.content_policy import ContentPolicy
from otel_llm.processors.foreign import ForeignSpans, in_foreign_call, is_foreign_call
from otel_llm.processors.identity import DefaultTenant, IdentityStamp
from otel_llm.processors.inline_media import InlineMedia
from otel_llm.processors.label_bounds import LabelBounds
from otel_llm.processors.limits import SizeLimits
from otel_llm.processors.lineage import Lineage
from otel_llm.processors.measures import MeasureRules
from otel_llm.processors.overlap import OverlapFilter
from otel_llm.processors.redaction import Redaction, Redactor
from otel_llm.processors.replay import ReplayFilter
from otel_llm.processors.sampling import Sampling, SamplingRules
from otel_llm.processors.tally import Tally
from otel_llm.processors.waiting_room import WaitingRoom
from otel_llm.processors.watch import CallWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.metrics import MeterProvider

    from otel_llm.config import Config
    from otel_llm.control.channels import Channel
    from otel_llm.control.opik_join import OpikJoin
    from otel_llm.instrumentation.clients import ClientInstrumentation
    from otel_llm.pricing import PriceBook
    from otel_llm.processors.foreign.cost import ForeignCost
    from otel_llm.store.media import MediaFiles

__all__ = ["Pipeline", "SpanFills", "assemble"]

_logger = logging.getLogger(__name__)

_NOTICE_SECONDS: Final = 1.0
_SHORTEST_STRETCH: Final = 0.2
"""Seconds in which something of what waits is worked on, unless something hangs."""

_KEEPS_TOTALS: Final = frozenset({"local"})
"""Backends that add up themselves what the program used, so that they must hear of every call."""


class Counting:
    """The stages that only count: every call, kept or not, and as it looks after redaction."""

    def __init__(self, config: Config, meter_provider: MeterProvider | None) -> None:
        bounds = LabelBounds(tenants=config.metrics.tenants, models=config.metrics.models)
        rules = MeasureRules(config.metrics.generation, config.metrics.estimated_tokens)
        self.export = MetricExport(config, meter_provider)
        self.tally = Tally(bounds=bounds)
        self.page = PageSink()
        self._meters = MeterSink(self.export.provider, rules, VERSION)
        self.measuring = CallMetrics([self.page, self._meters], rules, bounds)

    def collected_after(self, settle: Callable[[float], object]) -> None:
        """Before a meter provider collects, have everything that has ended counted (within a second)."""
        self._meters.before_collecting = lambda: settle(_NOTICE_SECONDS)


@dataclass(eq=False, repr=False)
class Pipeline:
    """Everything that one `configure` built, and how to take it down again."""

    config: Config
    home: Home
    """The tracer provider that spans begin on."""
    processor: SpanPipeline | None
    counting: Counting
    """What calls of this process used, for `/metrics` and for a meter provider."""
    watch: CallWatch
    """Who wants to see the facts of every LLM span."""
    channels: list[Channel] = field(default_factory=list)
    recorder: Recorder | None = None
    http: list[HttpInstrumentation] = field(default_factory=list)
    clients: list[ClientInstrumentation] = field(default_factory=list)
    """Libraries that instrumentations of others record for us."""
    redactors: tuple[Redactor, ...] = ()
    """The program's own functions over every text of a span."""
    media: MediaFiles | None = None
    opik_join: OpikJoin | None = None
    """Makes one trace of ours and those of Opik's own SDK."""

    @property
    def provider(self) -> TracerProvider:
        """The tracer provider that spans begin on now."""
        return self.home.provider

    @property
    def in_memory(self) -> bool:
        """Whether spans would be lost if the process ended now, and are on their way to where they would not."""
        waiting = self.processor is not None and self.processor.waiting > 0
        return waiting or any(channel.in_memory for channel in self.channels)

    def keep(self, timeout: float) -> None:
        """Before the process ends: put spans where they outlive it, and deliver no more.

        What hangs has `timeout` seconds, half of them for the stages; what goes on may go on.
        """
        if self.processor is not None:
            _settle_while_it_helps(self.processor, max(_SHORTEST_STRETCH, timeout / 2))
        for channel in self.channels:
            channel.keep(timeout / 2 / len(self.channels))
        self.flush_others(timeout / 2)

    def flush_others(self, timeout: float) -> None:
        """Where calls leave by the program's exporters alone, have those send, for at most `timeout` seconds."""
        if not self.channels:
            self.home.flush(timeout)

    def close(self, timeout: float) -> None:
        """Stop recording, hand over what is queued within `timeout` seconds, and let go of everything."""
        use_tracing(None)
        if self.opik_join is not None:
            self.opik_join.end()
        if "litellm" in self.config.instrument:
            litellm_switch.end()
            litellm_switch.use_prices(_no_prices)
        for client in self.clients:
            client.end()
        for instrumentation in self.http:
            instrumentation.end()
        end = monotonic() + timeout
        self.counting.export.begin_close(timeout)
        for channel in self.channels:
            channel.hurry(timeout)
        if self.processor is not None:
            self.processor.shutdown()
        self.home.leave()
        for channel in self.channels:
            channel.close(timeout)
        self.flush_others(max(0.0, end - monotonic()))
        self.counting.export.wait(max(0.0, end - monotonic()))
        if self.media is not None:
            _offer_media_to(None)
            self.media.flush(max(0.0, end - monotonic()))


def assemble(
    config: Config,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    redactors: Sequence[Redactor] = (),
) -> Pipeline:
    """Build and start the pipeline that `config` describes.

    Joins `tracer_provider`, else the program's global provider, else makes one that stands in for a global one until
    the program sets its own. `redactors` are functions of the program's that every text goes through. Raises
    `BackendError` when a backend cannot be built as configured, `ConfigError` when prices or Presidio cannot be used.
    """
    prices = _prices(config)
    redaction = Redaction.of(config, redactors)
    channels = _channels(config)
    complete_context()
    home = Home.find(config, tracer_provider)
    counting, watch = Counting(config, meter_provider), CallWatch()
    media = _media(config)
    foreign = ForeignSpans(_foreign_cost(prices), wants_content=config.captures_content)
    lineage = Lineage(llm_only=_llm_only(config, home), joined=not home.owned)
    join = _opik_join(config, home, lineage)
    processor = _processor(config, channels, lineage, join, foreign, watch, counting, redaction, media)
    pipeline = Pipeline(
        config, home, processor, counting, watch, channels, redactors=tuple(redactors), media=media, opik_join=join
    )
    counting.collected_after(processor.settle)
    home.settle(processor, lambda: _follow(pipeline, lineage))
    if join is not None:
        join.begin()
    if media is not None:
        _offer_media_to(media)
    _instrument(pipeline, prices)
    return pipeline


def _settle_while_it_helps(processor: SpanPipeline, stretch: float) -> None:
    """Have all that waits worked on, unless nothing of it is in `stretch` seconds."""
    waiting = processor.waiting
    while not processor.settle(stretch, for_room=True) and processor.waiting < waiting:
        waiting = processor.waiting


def _media(config: Config) -> MediaFiles | None:
    if not config.media.keep:
        return None
    from otel_llm.store.media import MediaFiles  # noqa: PLC0415  (few programs keep media)

    return MediaFiles(config.media.path, max_bytes=config.media.max_bytes)


def _offer_media_to(media: MediaFiles | None) -> None:
    from otel_llm.store.media import use_media  # noqa: PLC0415  (few programs keep media)

    use_media(media)


def _prices(config: Config) -> Callable[[], PriceBook]:
    """What the user has agreed; read at once where that can fail, else when the first call is to be priced."""

    @cache
    def book() -> PriceBook:
        with loading("prices"):
            from otel_llm.pricing import load_prices  # noqa: PLC0415
        return load_prices(
            config.prices_file, config.prices, aliases=config.model_aliases, default_tenant=config.tenant_default
        )

    if config.prices_file is not None or config.prices:
        book()
    return book


def _no_prices() -> PriceBook:
    from otel_llm.pricing import NO_PRICES  # noqa: PLC0415

    return NO_PRICES


def _foreign_cost(prices: Callable[[], PriceBook]) -> Callable[[], ForeignCost]:
    """Answers what prices foreign calls; what that takes is loaded when it is asked for."""

    @cache
    def cost() -> ForeignCost:
        with loading("the cost of foreign spans"):
            from otel_llm.processors.foreign.cost import ForeignCost  # noqa: PLC0415
        return ForeignCost(prices(), price_table)

    return cost


def _channels(config: Config) -> list[Channel]:
    capture = capture_in_force()
    if capture is not None:
        return [capture]
    names = [name for name in config.backend if name != NO_BACKEND]
    spooled = [name for name in names if name not in ON_THIS_MACHINE]
    channels: list[Channel] = [
        DirectChannel(backends.build(name, config), config) for name in names if name not in spooled
    ]
    if spooled:
        from otel_llm.control.spooled import SpooledChannel  # noqa: PLC0415  (the default backend needs no spool)

        channels.append(SpooledChannel({name: backends.build(name, config) for name in spooled}, config))
    return channels


def _processor(
    config: Config,
    channels: list[Channel],
    lineage: Lineage,
    join: OpikJoin | None,
    foreign: ForeignSpans,
    watch: CallWatch,
    counting: Counting,
    redaction: Redaction,
    media: MediaFiles | None,
) -> SpanPipeline:
    overlap = OverlapFilter(litellm_switch.is_recording, is_call=is_foreign_call, absorb=foreign.absorb)
    replay = ReplayFilter()
    identity = IdentityStamp(
        default_tenant=config.tenant_default,
        from_baggage=config.tenant_from_baggage,
        baggage_tenant_key=config.tenant_baggage_key,
    )
    limits = SizeLimits(max_value_bytes=config.max_value_bytes, max_span_bytes=config.max_span_bytes)
    rules = SamplingRules.of(config)
    return SpanPipeline(
        _fan_out([channel.processor for channel in channels]),
        on_start=[
            identity,
            lineage.on_start,
            replay.on_start,
            overlap.on_start,
            foreign.on_start,
            *([join.on_start] if join is not None else []),
        ],
        # Redaction is the last that changes a span; the others only count, and see no more than a backend does.
        on_end=[
            lineage,
            overlap,
            DefaultTenant(config.tenant_default),
            *([join] if join is not None else []),
            foreign,
            watch,
            Sampling(rules),
            ContentPolicy.of(config),
            InlineMedia(media),
            limits,
            redaction,
            counting.tally,
            counting.measuring,
        ],
        early=[replay],
        # what tests look at is there when the call returns
        hand_over_delay=None if capture_in_force() is not None else hand_over_delay(config),
        gates=[channel.gate for channel in channels if channel.gate is not None],
        ledgers=[ledger for channel in channels for ledger in channel.ledgers],
        waiting_room=WaitingRoom() if rules.rescues else None,
        facts_to=[
            (channel.processor, ledger)
            for channel in channels
            for ledger in channel.ledgers
            if ledger.backend in _KEEPS_TOTALS
        ],
    )


_TO_OPIK: Final = frozenset({"opik", "opik-otlp", "otlp"})
"""Backends whose spans may end in Opik."""


def _opik_join(config: Config, home: Home, lineage: Lineage) -> OpikJoin | None:
    if config.opik.join == "never" or _TO_OPIK.isdisjoint(config.backend):
        return None
    from otel_llm.backends.opik.routing import Routing  # noqa: PLC0415  (other backends need nothing of Opik's)
    from otel_llm.control.opik_join import OpikJoin  # noqa: PLC0415

    # What sampling leaves out has no row in Opik: what joined it would not be seen there.
    outward = ("opik" in config.backend or config.opik.join == "always") and SamplingRules.of(config).keeps_everything
    return OpikJoin(
        lineage,
        Routing(config.opik.project, config.service_name, dict(config.opik.tenants)),
        outward=outward,
        default_tenant=config.tenant_default,
        settles_times=not home.owned,
    )


class SpanFills:
    """Puts on spans what is said of them when they have ended, where our pipeline is the only one to see them."""

    def __init__(self, home: Home, processor: SpanPipeline) -> None:
        self._home = home
        self._processor = processor

    @property
    def ready(self) -> bool:
        """Whether nobody else sees the spans that end now."""
        return self._processor.takes_fills and self._home.alone

    def fill(self, span_id: int, attributes: Callable[[], Mapping[str, Any]], size: int) -> bool:
        """Leave the rest of a span to the pipeline."""
        return self._home.alone and self._processor.fill_later(span_id, attributes, size)


def _llm_only(config: Config, home: Home) -> bool:
    return config.spans == "llm" or (config.spans == "auto" and not home.owned)


def _fan_out(processors: list[SpanProcessor]) -> SpanProcessor:
    if len(processors) == 1:
        return processors[0]
    fan = SynchronousMultiSpanProcessor()  # type: ignore[no-untyped-call]  # upstream left it untyped
    for processor in processors:
        fan.add_span_processor(processor)
    return fan


def _instrument(pipeline: Pipeline, prices: Callable[[], PriceBook]) -> None:
    config = pipeline.config
    use_max_bytes(config.max_value_bytes)
    pipeline.recorder = Recorder(
        pipeline.provider,
        measures=False,
        version=VERSION,
        capture_content=config.captures_content,
        baggage_tenant_key=config.tenant_baggage_key if config.tenant_from_baggage else None,
        default_tenant=config.tenant_default,
        later=SpanFills(pipeline.home, pipeline.processor) if pipeline.processor is not None else None,
    )
    _trace_functions(pipeline)
    if "litellm" in config.instrument:
        litellm_switch.use_prices(prices)
        litellm_switch.begin(pipeline.recorder, tenant_key=config.tenant_metadata_key)
    _instrument_clients(pipeline)
    if not config.http_spans:
        return
    for name in ("httpx", "aiohttp"):
        if name in config.instrument:
            instrumentation = HttpInstrumentation(name, pipeline.provider, in_call=in_foreign_call)
            instrumentation.begin()
            pipeline.http.append(instrumentation)


def _instrument_clients(pipeline: Pipeline) -> None:
    names = [name for name in CLIENT_LIBRARIES if name in pipeline.config.instrument]
    if not names:
        return
    from otel_llm.instrumentation.clients import ClientInstrumentation  # noqa: PLC0415  (few programs name any)

    for name in names:
        client = ClientInstrumentation(name, pipeline.provider, captures_content=pipeline.config.captures_content)
        client.begin()
        pipeline.clients.append(client)


def _trace_functions(pipeline: Pipeline) -> None:
    tracer = pipeline.provider.get_tracer("otel_llm", VERSION, schema_url=semconv.SCHEMA_URL)
    use_tracing(Tracing(tracer, wants_content=pipeline.config.captures_content))


def _follow(pipeline: Pipeline, lineage: Lineage) -> None:
    """The program has set a provider, and the pipeline has joined it: all that begins from now on begins there."""
    lineage.llm_only = _llm_only(pipeline.config, pipeline.home)
    if pipeline.opik_join is not None:
        pipeline.opik_join.settles_times = True
    if pipeline.recorder is not None:
        pipeline.recorder.move_to(pipeline.provider)
        _trace_functions(pipeline)
    for http in pipeline.http:
        http.move_to(pipeline.provider)
    for client in pipeline.clients:
        client.move_to(pipeline.provider)
