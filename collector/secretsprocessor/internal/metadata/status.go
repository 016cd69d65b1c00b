// Package metadata holds what metadata.yaml says about the component.
package metadata

import "go.opentelemetry.io/collector/component"

// Type is the component's name in configurations.
var Type = component.MustNewType("secrets")

// Stability is how settled the processor is, for all signals.
const Stability = component.StabilityLevelAlpha
