// Package opikrows turns OTLP spans into the rows that Opik's batch endpoints take.
//
// It is pure: no network, no clock, no settings but [Routing]. The rules are those of docs/opik.md of this repository,
// and the golden vectors in tests/vectors/opik hold this implementation and the Python one to the same rows.
package opikrows
