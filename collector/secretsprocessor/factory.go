package secretsprocessor

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processorhelper"

	"github.com/otel-llm/otel-llm/collector/secretsprocessor/internal/metadata"
)

var changes = processorhelper.WithCapabilities(consumer.Capabilities{MutatesData: true})

// NewFactory creates the factory of the processor `secrets`.
func NewFactory() processor.Factory {
	return processor.NewFactory(metadata.Type, createDefaultConfig,
		processor.WithTraces(createTraces, metadata.Stability),
		processor.WithLogs(createLogs, metadata.Stability),
		processor.WithMetrics(createMetrics, metadata.Stability))
}

func createTraces(ctx context.Context, set processor.Settings, config component.Config, next consumer.Traces) (processor.Traces, error) {
	made, err := newMasker(config.(*Config))
	if err != nil {
		return nil, err
	}
	return processorhelper.NewTraces(ctx, set, config, next, made.traces, changes)
}

func createLogs(ctx context.Context, set processor.Settings, config component.Config, next consumer.Logs) (processor.Logs, error) {
	made, err := newMasker(config.(*Config))
	if err != nil {
		return nil, err
	}
	return processorhelper.NewLogs(ctx, set, config, next, made.logs, changes)
}

func createMetrics(ctx context.Context, set processor.Settings, config component.Config, next consumer.Metrics) (processor.Metrics, error) {
	made, err := newMasker(config.(*Config))
	if err != nil {
		return nil, err
	}
	return processorhelper.NewMetrics(ctx, set, config, next, made.metrics, changes)
}
