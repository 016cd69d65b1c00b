package opikexporter

import (
	"iter"

	"go.opentelemetry.io/collector/pdata/ptrace"
)

// spansOf are all spans of a batch, in order.
func spansOf(batch ptrace.Traces) iter.Seq[ptrace.Span] {
	return func(yield func(ptrace.Span) bool) {
		for _, resource := range batch.ResourceSpans().All() {
			for _, scope := range resource.ScopeSpans().All() {
				for _, span := range scope.Spans().All() {
					if !yield(span) {
						return
					}
				}
			}
		}
	}
}

// copyOf is a batch of those spans only whose position is wanted, with what is around them.
func copyOf(batch ptrace.Traces, isWanted func(position int) bool) ptrace.Traces {
	chosen := ptrace.NewTraces()
	position := 0
	for _, resource := range batch.ResourceSpans().All() {
		newResource := ptrace.NewResourceSpans()
		for _, scope := range resource.ScopeSpans().All() {
			newScope := ptrace.NewScopeSpans()
			for _, span := range scope.Spans().All() {
				if isWanted(position) {
					span.CopyTo(newScope.Spans().AppendEmpty())
				}
				position++
			}
			if newScope.Spans().Len() > 0 {
				scope.Scope().CopyTo(newScope.Scope())
				newScope.SetSchemaUrl(scope.SchemaUrl())
				newScope.MoveTo(newResource.ScopeSpans().AppendEmpty())
			}
		}
		if newResource.ScopeSpans().Len() > 0 {
			resource.Resource().CopyTo(newResource.Resource())
			newResource.SetSchemaUrl(resource.SchemaUrl())
			newResource.MoveTo(chosen.ResourceSpans().AppendEmpty())
		}
	}
	return chosen
}
