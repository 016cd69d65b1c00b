package queueguard

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"

	"github.com/otel-llm/otel-llm/collector/queueguard/internal/metadata"
)

// NewFactory creates the factory of the extension `queue_guard`.
func NewFactory() extension.Factory {
	return extension.NewFactory(metadata.Type, createDefaultConfig, create, metadata.ExtensionStability)
}

func createDefaultConfig() component.Config {
	return &Config{Timeout: defaultTimeout, Keep: defaultKeep, MinFreeBytes: defaultMinFree}
}

func create(_ context.Context, set extension.Settings, config component.Config) (extension.Extension, error) {
	return newGuard(config.(*Config), set)
}
