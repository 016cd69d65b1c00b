package opikexporter

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configcompression"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configretry"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"

	"github.com/otel-llm/otel-llm/collector/opikexporter/internal/metadata"
)

// NewFactory creates the factory of the exporter `opik`.
func NewFactory() exporter.Factory {
	return exporter.NewFactory(
		metadata.Type,
		createDefaultConfig,
		exporter.WithTraces(createTraces, metadata.TracesStability),
	)
}

// createDefaultConfig never gives data up: Opik takes the same rows again, so there is no harm in trying.
func createDefaultConfig() component.Config {
	client := confighttp.NewDefaultClientConfig()
	client.Endpoint = cloudEndpoint
	client.Timeout = 30 * time.Second
	client.Compression = configcompression.TypeGzip
	// Rows shrink to 19 % at level 1 and to 16 % at level 6, for three times the CPU.
	client.CompressionParams = configcompression.CompressionParams{Level: 1}

	retry := configretry.NewDefaultBackOffConfig()
	retry.InitialInterval = time.Second
	retry.MaxInterval = time.Minute
	retry.MaxElapsedTime = 0

	return &Config{
		ClientConfig: client,
		QueueConfig:  configoptional.Some(defaultQueue()),
		RetryConfig:  retry,
	}
}

// defaultQueue is measured in bytes: a thousand requests with LLM content can be anything.
func defaultQueue() exporterhelper.QueueBatchConfig {
	return exporterhelper.QueueBatchConfig{
		Sizer:        exporterhelper.RequestSizerTypeBytes,
		QueueSize:    64 << 20,
		NumConsumers: 4,
		Batch: configoptional.Default(exporterhelper.BatchConfig{
			FlushTimeout: time.Second,
			Sizer:        exporterhelper.RequestSizerTypeBytes,
			MinSize:      1_000_000,
		}),
	}
}

func createTraces(ctx context.Context, set exporter.Settings, config component.Config) (exporter.Traces, error) {
	return newLanes(ctx, config.(*Config), set)
}
