package opikrows

import (
	"strconv"

	"go.opentelemetry.io/collector/pdata/ptrace"
)

// errorInfoOf is what went wrong in a span; nil for one that did not fail.
//
// Failed means status ERROR or an `error.type`. An exception event alone does not: it may have been handled. The last
// one tells the details; Opik refuses blank types and tracebacks, so each falls back to the next best text.
func errorInfoOf(span ptrace.Span, said attributes) object {
	errorType := strip(textOf(said.values[attrErrorType]))
	if errorType == "" && span.Status().Code() != ptrace.StatusCodeError {
		return nil
	}
	event := lastException(span)
	kind := firstText(event.values[attrExceptionType], errorType, refusal(said))
	message := firstText(event.values[attrExceptionText], span.Status().Message(), kind)
	traceback := firstText(event.values[attrExceptionStack], message)
	return object{"exception_type": kind, "message": message, "traceback": traceback}
}

// refusal is `HTTP 503`, of a request that a server refused and that says nothing else; its status has two names.
func refusal(said attributes) string {
	for _, name := range []string{attrHTTPStatus, attrOldHTTPStatus} {
		if status, isInt := said.values[name].(int64); isInt {
			return "HTTP " + strconv.FormatInt(status, 10)
		}
	}
	return "Error"
}

func lastException(span ptrace.Span) attributes {
	for index := span.Events().Len() - 1; index >= 0; index-- {
		if event := span.Events().At(index); event.Name() == eventException {
			return attributesOf(event.Attributes())
		}
	}
	return attributes{}
}

func firstText(candidates ...any) string {
	for _, candidate := range candidates {
		if text := textOf(candidate); strip(text) != "" {
			return text
		}
	}
	return "Error"
}
