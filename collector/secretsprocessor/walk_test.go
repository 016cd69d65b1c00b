package secretsprocessor

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/otel-llm/otel-llm/collector/secretsprocessor/internal/metadata"
)

const hidden = "canary without a shape"

// fill puts secrets of all kinds into attributes, at all depths.
func fill(attributes pcommon.Map) {
	attributes.PutStr("text", "it is "+key)
	attributes.PutStr("password", hidden)
	attributes.PutStr("json", `{"api_key":"`+hidden+`"}`)
	attributes.PutEmptyBytes("bytes").FromRaw([]byte(key))
	attributes.PutEmptyMap("x-api-key").PutStr("any", hidden)
	list := attributes.PutEmptySlice("list")
	list.AppendEmpty().SetStr(key)
	inner := list.AppendEmpty().SetEmptyMap()
	inner.PutStr("role", "user")
	inner.PutStr("api_key", hidden)
	inner.PutEmptyMap("deeper").PutEmptySlice("still").AppendEmpty().SetEmptyMap().PutStr("client_secret", hidden)
}

// wanted are attributes after that.
func wanted() map[string]any {
	return map[string]any{
		"text": "it is ****", "password": "****", "json": `{"api_key":"****"}`, "bytes": []byte("****"), "x-api-key": "****",
		"list": []any{"****", map[string]any{
			"role": "user", "api_key": "****",
			"deeper": map[string]any{"still": []any{map[string]any{"client_secret": "****"}}},
		}},
	}
}

// In a span secrets are masked in every place, links and their nested members too, and lists and maps stay what they are.
func TestSpans(t *testing.T) {
	batch := ptrace.NewTraces()
	resource := batch.ResourceSpans().AppendEmpty()
	scope := resource.ScopeSpans().AppendEmpty()
	span := scope.Spans().AppendEmpty()
	span.SetName("call with " + key)
	span.Status().SetMessage("wrong key " + key)
	event, link := span.Events().AppendEmpty(), span.Links().AppendEmpty()
	event.SetName(key)
	places := []pcommon.Map{resource.Resource().Attributes(), scope.Scope().Attributes(), span.Attributes(), event.Attributes(), link.Attributes()}
	for _, place := range places {
		fill(place)
	}
	_, err := usual(t).traces(context.Background(), batch)
	require.NoError(t, err)
	for _, place := range places {
		assert.Equal(t, wanted(), place.AsRaw())
	}
	assert.Equal(t, []string{"call with ****", "wrong key ****", "****"}, []string{span.Name(), span.Status().Message(), event.Name()})
}

// In log records the same, bodies of any kind too.
func TestLogs(t *testing.T) {
	batch := plog.NewLogs()
	resource := batch.ResourceLogs().AppendEmpty()
	scope := resource.ScopeLogs().AppendEmpty()
	text, structured := scope.LogRecords().AppendEmpty(), scope.LogRecords().AppendEmpty()
	text.Body().SetStr(`login {"password": "` + hidden + `"}`)
	places := []pcommon.Map{
		resource.Resource().Attributes(), scope.Scope().Attributes(), text.Attributes(), structured.Body().SetEmptyMap(),
	}
	for _, place := range places {
		fill(place)
	}
	_, err := usual(t).logs(context.Background(), batch)
	require.NoError(t, err)
	for _, place := range places {
		assert.Equal(t, wanted(), place.AsRaw())
	}
	assert.Equal(t, `login {"password": "****"}`, text.Body().Str())
}

// In metrics of all types the same, in exemplars too.
func TestMetrics(t *testing.T) {
	batch := pmetric.NewMetrics()
	resource := batch.ResourceMetrics().AppendEmpty()
	scope := resource.ScopeMetrics().AppendEmpty()
	add := scope.Metrics().AppendEmpty
	gauge, sum := add().SetEmptyGauge().DataPoints().AppendEmpty(), add().SetEmptySum().DataPoints().AppendEmpty()
	histogram := add().SetEmptyHistogram().DataPoints().AppendEmpty()
	exponential := add().SetEmptyExponentialHistogram().DataPoints().AppendEmpty()
	summary := add().SetEmptySummary().DataPoints().AppendEmpty()
	places := []pcommon.Map{
		resource.Resource().Attributes(), scope.Scope().Attributes(), gauge.Attributes(), sum.Attributes(), histogram.Attributes(),
		exponential.Attributes(), summary.Attributes(), gauge.Exemplars().AppendEmpty().FilteredAttributes(),
		histogram.Exemplars().AppendEmpty().FilteredAttributes(), exponential.Exemplars().AppendEmpty().FilteredAttributes(),
	}
	for _, place := range places {
		fill(place)
	}
	_, err := usual(t).metrics(context.Background(), batch)
	require.NoError(t, err)
	for _, place := range places {
		assert.Equal(t, wanted(), place.AsRaw())
	}
}

// The factory makes a processor for each signal; it changes data, and its settings follow the Collector's conventions.
func TestFactory(t *testing.T) {
	factory := NewFactory()
	cfg := factory.CreateDefaultConfig()
	require.NoError(t, componenttest.CheckConfigStruct(cfg))
	set := processortest.NewNopSettings(metadata.Type)
	traces, err := factory.CreateTraces(context.Background(), set, cfg, consumertest.NewNop())
	require.NoError(t, err)
	assert.True(t, traces.Capabilities().MutatesData)
	_, err = factory.CreateLogs(context.Background(), set, cfg, consumertest.NewNop())
	require.NoError(t, err)
	_, err = factory.CreateMetrics(context.Background(), set, cfg, consumertest.NewNop())
	require.NoError(t, err)
	assert.Equal(t, component.MustNewType("secrets"), factory.Type())
}

// A pattern that is none, or matches everywhere, is named.
func TestBadPatterns(t *testing.T) {
	assert.ErrorContains(t, (&Config{BlockedValues: []string{"ok", "("}}).Validate(), "blocked_values[1] is no pattern")
	assert.ErrorContains(t, (&Config{BlockedKeyPatterns: []string{".*"}}).Validate(), "blocked_key_patterns[0] is no pattern to use: it matches nothing at all")
	assert.NoError(t, createDefaultConfig().(*Config).Validate())
}
