// Package metadata holds what metadata.yaml says about the component.
package metadata

import "go.opentelemetry.io/collector/component"

// Type is the component's name in configurations.
var Type = component.MustNewType("opik")

const (
	// ScopeName names the instrumentation scope of the component's own telemetry.
	ScopeName = "github.com/otel-llm/otel-llm/collector/opikexporter"
	// TracesStability is how settled the exporter is.
	TracesStability = component.StabilityLevelAlpha
)
