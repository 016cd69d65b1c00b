package opikrows

import (
	"math"
	"strconv"
)

// maxCount is the largest number of tokens that Opik takes.
const maxCount = math.MaxInt32

// maxCost in USD. More is a mistake of whoever said it, and Opik's column for it (12 decimals) does not hold every number.
const maxCost = 1e9

// hugeCount stands for all counts that are too large for anything, so that sums of them do not overflow.
const hugeCount = int64(1) << 60

// Attributes for each count, in the order asked: today's name, its older spellings, then those of others.
var (
	inputTokens = []string{
		"gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt",
		"ai.usage.inputTokens", "ai.usage.promptTokens",
	}
	outputTokens = []string{
		"gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion",
		"ai.usage.outputTokens", "ai.usage.completionTokens",
	}
	totalTokens     = []string{"gen_ai.usage.total_tokens", "llm.usage.total_tokens", "llm.token_count.total"}
	cacheReadTokens = []string{
		"gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens",
		"llm.token_count.prompt_details.cache_read", "ai.usage.cachedInputTokens",
	}
	cacheWriteTokens = []string{
		"gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation_input_tokens",
		"gen_ai.usage.cache_creation.input_tokens", "llm.token_count.prompt_details.cache_write",
	}
	// not text tokens: Opik's estimate would bill cached text twice, and reasoning not at all
	detailTokens = map[string][]string{
		"original_usage.completion_tokens_details.reasoning_tokens": {
			"gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens",
			"llm.token_count.completion_details.reasoning", "ai.usage.reasoningTokens",
		},
		"original_usage.prompt_tokens_details.audio_tokens": {
			"gen_ai.usage.audio.input_tokens", "llm.token_count.prompt_details.audio",
		},
		"original_usage.completion_tokens_details.audio_tokens": {
			"gen_ai.usage.audio.output_tokens", "llm.token_count.completion_details.audio",
		},
		"original_usage.prompt_tokens_details.image_tokens":     {"gen_ai.usage.image.input_tokens"},
		"original_usage.completion_tokens_details.image_tokens": {"gen_ai.usage.image.output_tokens"},
	}
	costAttributes = []string{"gen_ai.usage.cost", "llm.cost.total", "operation.cost", "gen_ai.cost.total_cost"}
)

// usageOf is Opik's usage map; nil where the span reports no tokens.
func usageOf(span attributes, provider string) object {
	given, hasGiven := countOf(span, inputTokens)
	completion, hasCompletion := countOf(span, outputTokens)
	read, hasRead := countOf(span, cacheReadTokens)
	written, hasWritten := countOf(span, cacheWriteTokens)
	prompt, uncached, hasUncached := given, given, false
	uncachedKey := uncachedInput[provider]
	if cached := read + written; uncachedKey != "" && hasGiven && cached > 0 {
		prompt, uncached = divided(given, cached)
		hasUncached = true
	}
	total, hasTotal := countOf(span, totalTokens)
	if !hasTotal || prompt != given {
		total, hasTotal = prompt+completion, hasGiven || hasCompletion
	}
	usage := object{}
	keepCount(usage, "prompt_tokens", prompt, hasGiven)
	keepCount(usage, "completion_tokens", completion, hasCompletion)
	keepCount(usage, "total_tokens", total, hasTotal)
	keepCount(usage, "cache_read_input_tokens", read, hasRead)
	keepCount(usage, "cache_creation_input_tokens", written, hasWritten)
	keepCount(usage, uncachedKey, uncached, hasUncached)
	for key, names := range detailTokens {
		count, known := countOf(span, names)
		keepCount(usage, key, count, known)
	}
	if len(usage) == 0 {
		return nil
	}
	return usage
}

// divided is all input, and the part that no cache held. A cached part larger than the whole was reported outside of it.
func divided(given, cached int64) (all, uncached int64) {
	if cached <= given {
		return given, given - cached
	}
	return given + cached, given
}

func keepCount(usage object, key string, count int64, known bool) {
	if known && count <= maxCount {
		usage[key] = count
	}
}

// countOf is the first of the attributes that is a count.
func countOf(span attributes, names []string) (int64, bool) {
	for _, name := range names {
		if count, isCount := asCount(span.values[name]); isCount {
			return min(count, hugeCount), true
		}
	}
	return 0, false
}

// asCount accepts whole numbers that are not negative, also as whole floats and digits in text.
func asCount(value any) (int64, bool) {
	switch said := value.(type) {
	case int64:
		return said, said >= 0
	case float64:
		if said < 0 || said != math.Trunc(said) {
			return 0, false
		}
		return int64(min(said, float64(hugeCount))), true
	case string:
		if !allDigits(said) || len(said) > 19 {
			return 0, false
		}
		count, err := strconv.ParseInt(said, 10, 64)
		if err != nil { // 19 digits beyond 2^63
			count = hugeCount
		}
		return count, true
	default:
		return 0, false
	}
}

// costOf is what the span cost in USD; nil where nobody knows, which leaves the estimate to Opik. A response-cache hit
// cost nothing, and saying 0 keeps Opik from pricing its tokens again.
func costOf(span attributes) any {
	if hit, _ := span.values[attrCacheHit].(bool); hit {
		return int64(0)
	}
	for _, name := range costAttributes {
		if cost, isMeasured := measured(span.values[name]); isMeasured && cost <= maxCost {
			return span.values[name]
		}
	}
	return nil
}

// ttftMillisOf is the time to the first token in milliseconds, to the microsecond; nil where it was not measured.
func ttftMillisOf(span attributes) any {
	for _, source := range []struct {
		attribute string
		perMillis float64
	}{{attrTTFTSeconds, 1000}, {attrTTFTServerSeconds, 1000}, {attrVercelTTFTMillis, 1}} {
		value, isMeasured := measured(span.values[source.attribute])
		if !isMeasured {
			continue
		}
		if millis := math.RoundToEven(value*source.perMillis*1000) / 1000; !math.IsInf(millis, 0) {
			return millis
		}
	}
	return nil
}

// measured accepts a number that is not negative.
func measured(value any) (float64, bool) {
	switch said := value.(type) {
	case int64:
		return float64(said), said >= 0
	case float64:
		return said, said >= 0
	default:
		return 0, false
	}
}
