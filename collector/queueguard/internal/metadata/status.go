// Package metadata holds what metadata.yaml says about the component.
package metadata

import "go.opentelemetry.io/collector/component"

// Type is the component's name in configurations.
var Type = component.MustNewType("queue_guard")

const (
	// ScopeName names the instrumentation scope of the component's own telemetry.
	ScopeName = "github.com/otel-llm/otel-llm/collector/queueguard"
	// ExtensionStability is how settled the extension is.
	ExtensionStability = component.StabilityLevelAlpha
)
