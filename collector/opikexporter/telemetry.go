package opikexporter

import (
	"context"
	"errors"
	"maps"
	"slices"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/otel-llm/otel-llm/collector/opikexporter/internal/metadata"
)

// telemetry are the exporter's own counters, beside those of exporterhelper.
type telemetry struct {
	exporter attribute.KeyValue
	requests metric.Int64Counter
	rejected metric.Int64Counter
	closed   metric.Int64Gauge
}

func newTelemetry(set component.TelemetrySettings, id component.ID) (*telemetry, error) {
	meter := set.MeterProvider.Meter(metadata.ScopeName)
	requests, errRequests := meter.Int64Counter("otelcol_exporter_opik_requests", metric.WithUnit("{request}"),
		metric.WithDescription("HTTP requests to Opik, by kind of row and outcome."))
	rejected, errRejected := meter.Int64Counter("otelcol_exporter_opik_rejected_spans", metric.WithUnit("{span}"),
		metric.WithDescription("Spans that are lost, by reason: Opik refused them for good, or their workspace is closed and its queue full."))
	closed, errClosed := meter.Int64Gauge("otelcol_exporter_opik_workspace_closed", metric.WithUnit("1"),
		metric.WithDescription("1 as long as Opik takes no spans for a workspace (401, 402, 403, 404), by its last answer; 0 if it does."))
	return &telemetry{attribute.String("exporter", id.String()), requests, rejected, closed}, errors.Join(errRequests, errRejected, errClosed)
}

func (t *telemetry) countRequest(ctx context.Context, of kind, err error) {
	outcome := "taken"
	var words *refused
	if errors.As(err, &words) {
		outcome = words.reason
	} else if err != nil {
		outcome = "retry"
	}
	t.requests.Add(ctx, 1, metric.WithAttributes(t.exporter,
		attribute.String("kind", string(of)), attribute.String("outcome", outcome)))
}

// begin has every reason be there from the start: a counter that begins above zero tells an alert on its growth nothing.
func (t *telemetry) begin(ctx context.Context) {
	for _, reason := range append(slices.Sorted(maps.Values(refusals)), reasonTooOld, reasonServerError, reasonClosed) {
		t.countRejected(ctx, reason, 0)
	}
}

func (t *telemetry) countRejected(ctx context.Context, reason string, spans int) {
	t.rejected.Add(ctx, int64(spans), metric.WithAttributes(t.exporter, attribute.String("reason", reason)))
}

func (t *telemetry) sayClosed(ctx context.Context, workspace string, is int64) {
	t.closed.Record(ctx, is, metric.WithAttributes(t.exporter, attribute.String("workspace", workspace)))
}
