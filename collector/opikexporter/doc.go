// Package opikexporter sends spans to Opik over its REST batch endpoints.
//
// Unlike Opik's OTLP route these are idempotent, take several projects in one process, and carry provider, cost, time to
// first token and tenant. The rows are those of the Python exporter in this repository.
package opikexporter // import "github.com/otel-llm/otel-llm/collector/opikexporter"
