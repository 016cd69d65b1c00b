package opikexporter

import (
	"context"
	"errors"

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
}

func newTelemetry(set component.TelemetrySettings, id component.ID) (*telemetry, error) {
	meter := set.MeterProvider.Meter(metadata.ScopeName)
	requests, errRequests := meter.Int64Counter("otelcol_exporter_opik_requests", metric.WithUnit("{request}"),
		metric.WithDescription("HTTP requests to Opik, by kind of row and outcome."))
	rejected, errRejected := meter.Int64Counter("otelcol_exporter_opik_rejected_spans", metric.WithUnit("{span}"),
		metric.WithDescription("Spans that Opik refused for good, by reason; the rest of their batch was delivered."))
	return &telemetry{attribute.String("exporter", id.String()), requests, rejected}, errors.Join(errRequests, errRejected)
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

func (t *telemetry) countRejected(ctx context.Context, reason string) {
	t.rejected.Add(ctx, 1, metric.WithAttributes(t.exporter, attribute.String("reason", reason)))
}
