"""Batches become rows, rows become requests, answers become outcomes."""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

from otel_llm import json_bytes
from otel_llm.backends.http import NoAnswerError
from otel_llm.backends.opik.feedback import SPAN_SCORES, TRACE_SCORES
from otel_llm.backends.opik.holding import held_spans
from otel_llm.backends.opik.live import LiveSpans
from otel_llm.backends.opik.mapping import map_request, map_spans
from otel_llm.backends.opik.memory import TraceMemory
from otel_llm.backends.opik.packing import pack, parted
from otel_llm.backends.opik.verdicts import TENANTS_SETTING, Place, Refused, Verdict, judge, judge_silence
from otel_llm.clock import monotonic
from otel_llm.contracts import Delivered, Rejected, Rejection, Retry
from otel_llm.wire import IllFormedPayloadError, decode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otel_llm.backends.opik.json_client import JsonClient
    from otel_llm.backends.opik.routing import Routing
    from otel_llm.backends.opik.rows import Row, Rows
    from otel_llm.contracts import Batch, Held, Outcome

__all__ = ["Sender"]

_logger = logging.getLogger(__name__)

_ENDPOINTS: Final = {
    "traces": ("POST", "/v1/private/traces/batch"),
    "spans": ("POST", "/v1/private/spans/batch"),
    TRACE_SCORES: ("PUT", "/v1/private/traces/feedback-scores"),
    SPAN_SCORES: ("PUT", "/v1/private/spans/feedback-scores"),
}
_OF_A_WORKSPACE: Final = frozenset({"unauthorized", "forbidden", "workspace", "quota"})
"""Trouble with one workspace, which says nothing about the batch's rows for others."""
_THROTTLED: Final = "throttled"
"""Opik counts by workspace too; where it is the key that sends too much, the others will hear it in their turn."""
_MOST_SILENT: Final = 2
"""Workspaces with trouble that is not theirs alone after which no others are asked: it is the server."""
_DEPRECATION: Final = "x-opik-deprecation"
_REMEMBERED_BATCHES: Final = 16
_BARE_FIELDS: Final = ("id", "project_name", "name", "start_time", "end_time", "source", "last_updated_at")


class _Progress:
    """How far a batch has come, for when it is sent again: what was answered for is not asked again."""

    def __init__(self) -> None:
        self.done: set[tuple[str | None, ...]] = set()
        """Keys of rows that were taken or refused for good."""
        self.rejections: dict[str, Rejection] = {}
        """By Opik id of the span, or the OTel id of a record of feedback."""


class Sender:
    """Sends batches through `client`, to the projects that `routing` names. Used by one thread at a time."""

    def __init__(self, client: JsonClient, routing: Routing, place: Place) -> None:
        self._client = client
        self._routing = routing
        self._place = place
        self._live = LiveSpans()
        self._memory = TraceMemory()
        self._progress: OrderedDict[str, _Progress] = OrderedDict()
        self._deprecated: set[str] = set()
        self._answered: dict[str, float] = {}
        """When each workspace last took rows (monotonic seconds)."""
        self._troubled: dict[str, float] = {}
        """Since when a workspace takes none (monotonic seconds)."""
        self._failed: dict[str, float] = {}
        """When a workspace that takes none was last asked (monotonic seconds)."""
        self.held_back: frozenset[str] | None = None
        """Workspaces whose spans are handed back without asking; None where nothing can be handed back."""

    def send(self, batch: Batch, *, timeout: float) -> Outcome:
        """Hand the batch's rows to Opik, traces before spans; see `contracts.Backend`.

        Sending the same batch again is safe: every row replaces itself.
        """
        deadline = monotonic() + timeout
        try:
            rows = self._rows(batch)
        except IllFormedPayloadError as error:
            return Rejected(f"The batch is not a readable OTLP request ({error}).")
        except Exception as error:  # noqa: BLE001  (whatever foreign attributes hold; the batch is divided to find it)
            return Rejected(f"A span of the batch cannot be expressed as an Opik row ({type(error).__name__}).")
        progress = self._progress_of(batch.id)
        progress.rejections.update({entry.span_id: entry for entry in rows.rejections})
        by_kind = rows.by_kind()
        configured = self._place.workspace
        named = dict.fromkeys([row.workspace or configured for _, kind_rows in by_kind for row in kind_rows])
        held_back = dict.fromkeys(name for name in named if name in self.held_back) if self.held_back else {}
        asked = [name for name in named if name not in held_back]
        answers = self._send_to_all(asked, by_kind, progress, deadline)
        trouble = {workspace: retry for workspace, retry in answers.items() if retry is not None}
        well = len(trouble) < len(answers)
        for workspace, retry in trouble.items():
            its_own = self._can_hold and self._is_its_own(workspace, retry, others_are_well=well)
            if not its_own or len(answers) < len(asked):
                return retry
        if not trouble:  # else it may be this very batch that comes again, once it was parked
            self._progress.pop(batch.id, None)
        closed = {**trouble, **held_back}
        rejected = progress.rejections.values()
        held = held_spans(batch, closed, rejected, self._routing, configured) if closed else ()
        return _delivered(batch, progress, held)

    @property
    def _can_hold(self) -> bool:
        """Whether a workspace can be left alone for the sake of others: where there are others."""
        return self.held_back is not None and bool(self._routing.workspaces or self.held_back)

    def _send_to_all(
        self,
        asked: Sequence[str],
        by_kind: Sequence[tuple[str, Sequence[Row]]],
        progress: _Progress,
        deadline: float,
    ) -> dict[str, Retry | None]:
        """What goes to each workspace; returns what each answered: None if it took all. Not all may have been asked."""
        answers: dict[str, Retry | None] = {}
        not_its_own = 0
        if self._failed:  # one that hangs is asked last, or it would take the time of all others
            asked = sorted(asked, key=lambda workspace: self._failed.get(workspace, 0.0))
        for workspace in asked:
            in_time = monotonic() < deadline
            retry = answers[workspace] = self._send_to(workspace, by_kind, progress, deadline)
            if retry is None:
                self._answered[workspace] = monotonic()
                self._troubled.pop(workspace, None)
                self._failed.pop(workspace, None)
                continue
            self._troubled.setdefault(workspace, monotonic())
            if in_time:
                self._failed[workspace] = monotonic()
            not_its_own += not self._is_of_a_workspace(retry)
            well = self._can_hold and None in answers.values()
            if not_its_own >= (_MOST_SILENT if self._can_hold else 1) and not well:
                break
        return answers

    def _is_of_a_workspace(self, retry: Retry) -> bool:
        return retry.reason in _OF_A_WORKSPACE or (self._can_hold and retry.reason == _THROTTLED)

    def _is_its_own(self, workspace: str, retry: Retry, *, others_are_well: bool) -> bool:
        """Whether trouble is a workspace's own: by its kind, or because others take rows while this one does not."""
        since = self._troubled[workspace]
        answered_since = (moment > since for name, moment in self._answered.items() if name != workspace)
        return self._is_of_a_workspace(retry) or others_are_well or any(answered_since)

    def _send_to(
        self, workspace: str, by_kind: Sequence[tuple[str, Sequence[Row]]], progress: _Progress, deadline: float
    ) -> Retry | None:
        """All that goes to one workspace; None if it is done."""
        configured = self._place.workspace
        for kind, rows in by_kind:
            mine = [
                row
                for row in rows
                if (row.workspace or configured) == workspace and _key(kind, row) not in progress.done
            ]
            retry = self._deliver(kind, workspace, mine, progress, deadline)
            if retry is not None:
                return retry
        return None

    def _rows(self, batch: Batch) -> Rows:
        """The batch's rows, from its spans where they are still there."""
        rows = map_spans(batch.spans, self._live, self._routing, self._memory) if batch.spans else None
        return map_request(decode(batch), self._routing, self._memory) if rows is None else rows

    def _progress_of(self, batch_id: str) -> _Progress:
        progress = self._progress.setdefault(batch_id, _Progress())
        while len(self._progress) > _REMEMBERED_BATCHES:
            self._progress.popitem(last=False)
        return progress

    def _deliver(
        self, kind: str, workspace: str, rows: Sequence[Row], progress: _Progress, deadline: float
    ) -> Retry | None:
        """Send rows of one kind; refused requests are divided until each bad row stands alone."""
        waiting = deque(pack(kind, rows))
        while waiting:
            parcel = waiting.popleft()
            verdict = self._post(kind, workspace, parcel.body, deadline)
            if isinstance(verdict, Retry):
                return verdict
            if verdict is None:
                progress.done.update(_key(kind, row) for row in parcel.rows)
            elif len(parcel.rows) > 1:
                waiting.extendleft(reversed(parted(kind, parcel, verdict.bad_index)))
            elif kind != "traces":
                self._reject(kind, parcel.rows[0], verdict, progress)
            elif (retry := self._post_bare_trace(parcel.rows[0], verdict, workspace, deadline)) is not None:
                return retry
        return None

    def _post(self, kind: str, workspace: str, body: bytes, deadline: float) -> Verdict:
        left = deadline - monotonic()
        if left <= 0:
            return Retry("The time for this batch ran out before all of it was sent; the rest follows.", "timeout")
        headers, place = {}, self._place
        if workspace != place.workspace:
            headers["Comet-Workspace"] = workspace
            place = place._replace(workspace=workspace, workspace_setting=TENANTS_SETTING)
        try:
            method, path = _ENDPOINTS[kind]
            answer = self._client.request(method, path, body, timeout=left, headers=headers)
        except NoAnswerError as error:
            return judge_silence(error, place)
        self._note_deprecation(kind, answer.headers.get(_DEPRECATION, ""))
        return judge(answer, place)

    def _note_deprecation(self, kind: str, message: str) -> None:
        """Log, once for each endpoint, what the server says of its future, as Opik's own SDK does."""
        if message and kind not in self._deprecated:
            self._deprecated.add(kind)
            _logger.warning("Opik says that %s %s is deprecated: %.300s", *_ENDPOINTS[kind], " ".join(message.split()))

    def _post_bare_trace(self, row: Row, refused: Refused, workspace: str, deadline: float) -> Retry | None:
        """A trace whose full row is refused still gets one with nothing but name and times, so that it is listed."""
        _logger.warning("Opik refused the row of trace %s (%s); sending a bare one.", row.id, refused.words)
        body = row.body
        bare = row._replace(own=json_bytes.write({key: body[key] for key in _BARE_FIELDS if key in body}), shared=b"")
        (parcel,) = pack("traces", [bare])
        verdict = self._post("traces", workspace, parcel.body, deadline)
        return verdict if isinstance(verdict, Retry) else None  # refused again: its spans will be, and are counted

    def _reject(self, kind: str, row: Row, refused: Refused, progress: _Progress) -> None:
        progress.done.add(_key(kind, row))
        progress.rejections[row.span_id if kind != "spans" else row.id] = Rejection(
            row.span_id, refused.reason, refused.words
        )


def _delivered(batch: Batch, progress: _Progress, held: tuple[Held, ...]) -> Delivered:
    rejections = tuple(progress.rejections.values())
    waiting = sum(len(each.spans) for each in held)
    return Delivered(batch.span_count - len(rejections) - waiting, rejections, held)


def _key(kind: str, row: Row) -> tuple[str | None, ...]:
    """What tells rows apart: one trace may have a row in several workspaces and projects, and several scores."""
    score = row.span_id if kind in (TRACE_SCORES, SPAN_SCORES) else None
    return kind, row.workspace, row.project, row.id, score
