// Package secretsprocessor masks keys, passwords and addresses in spans, logs and metrics, wherever in them they are.
package secretsprocessor // import "github.com/otel-llm/otel-llm/collector/secretsprocessor"
