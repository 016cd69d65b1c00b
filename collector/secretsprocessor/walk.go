package secretsprocessor

import (
	"context"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

func (m *masker) traces(_ context.Context, batch ptrace.Traces) (ptrace.Traces, error) {
	for _, resource := range batch.ResourceSpans().All() {
		m.attributes(resource.Resource().Attributes())
		for _, scope := range resource.ScopeSpans().All() {
			m.attributes(scope.Scope().Attributes())
			for _, span := range scope.Spans().All() {
				m.span(span)
			}
		}
	}
	return batch, nil
}

func (m *masker) span(span ptrace.Span) {
	m.change(span.Name(), span.SetName)
	m.change(span.Status().Message(), span.Status().SetMessage)
	m.attributes(span.Attributes())
	for _, event := range span.Events().All() {
		m.change(event.Name(), event.SetName)
		m.attributes(event.Attributes())
	}
	for _, link := range span.Links().All() {
		m.attributes(link.Attributes())
	}
}

func (m *masker) logs(_ context.Context, batch plog.Logs) (plog.Logs, error) {
	for _, resource := range batch.ResourceLogs().All() {
		m.attributes(resource.Resource().Attributes())
		for _, scope := range resource.ScopeLogs().All() {
			m.attributes(scope.Scope().Attributes())
			for _, record := range scope.LogRecords().All() {
				m.attributes(record.Attributes())
				m.value(record.Body())
			}
		}
	}
	return batch, nil
}

func (m *masker) metrics(_ context.Context, batch pmetric.Metrics) (pmetric.Metrics, error) {
	for _, resource := range batch.ResourceMetrics().All() {
		m.attributes(resource.Resource().Attributes())
		for _, scope := range resource.ScopeMetrics().All() {
			m.attributes(scope.Scope().Attributes())
			for _, metric := range scope.Metrics().All() {
				m.points(metric)
			}
		}
	}
	return batch, nil
}

func (m *masker) points(metric pmetric.Metric) {
	switch metric.Type() {
	case pmetric.MetricTypeGauge:
		m.numbers(metric.Gauge().DataPoints())
	case pmetric.MetricTypeSum:
		m.numbers(metric.Sum().DataPoints())
	case pmetric.MetricTypeHistogram:
		for _, point := range metric.Histogram().DataPoints().All() {
			m.attributes(point.Attributes())
			m.exemplars(point.Exemplars())
		}
	case pmetric.MetricTypeExponentialHistogram:
		for _, point := range metric.ExponentialHistogram().DataPoints().All() {
			m.attributes(point.Attributes())
			m.exemplars(point.Exemplars())
		}
	case pmetric.MetricTypeSummary:
		for _, point := range metric.Summary().DataPoints().All() {
			m.attributes(point.Attributes())
		}
	}
}

func (m *masker) numbers(points pmetric.NumberDataPointSlice) {
	for _, point := range points.All() {
		m.attributes(point.Attributes())
		m.exemplars(point.Exemplars())
	}
}

func (m *masker) exemplars(exemplars pmetric.ExemplarSlice) {
	for _, exemplar := range exemplars.All() {
		m.attributes(exemplar.FilteredAttributes())
	}
}

func (m *masker) attributes(attributes pcommon.Map) {
	for name, value := range attributes.All() {
		if value.Type() != pcommon.ValueTypeEmpty && m.isBlocked(name) {
			value.SetStr(mask)
		} else {
			m.value(value)
		}
	}
}

// value masks within a value, which stays of the type that it is unless it is a number of which something is masked.
func (m *masker) value(value pcommon.Value) {
	switch value.Type() {
	case pcommon.ValueTypeStr:
		m.change(value.Str(), value.SetStr)
	case pcommon.ValueTypeInt, pcommon.ValueTypeDouble:
		m.change(value.AsString(), value.SetStr)
	case pcommon.ValueTypeBytes:
		m.change(string(value.Bytes().AsRaw()), func(masked string) { value.Bytes().FromRaw([]byte(masked)) })
	case pcommon.ValueTypeMap:
		m.attributes(value.Map())
	case pcommon.ValueTypeSlice:
		for _, item := range value.Slice().All() {
			m.value(item)
		}
	}
}

func (m *masker) change(text string, set func(string)) {
	if masked := m.text(text); masked != text {
		set(masked)
	}
}
