package opikrows

import (
	"encoding/base64"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// object is a JSON object. Values in it are nil, bool, int64, float64 (finite), json.Number (an integer beyond 64 bits),
// string, []any or object.
type object = map[string]any

// attributes are those of one span, resource or event: a dictionary that remembers its order, for a few rules depend on it.
type attributes struct {
	values object
	order  []string
}

// lastMicrosecond is the last moment that Opik can store (signed 64-bit nanoseconds).
const lastMicrosecond = math.MaxInt64 / 1000

// attributesOf reads OTLP attributes; of a repeated key the last one counts.
func attributesOf(pairs pcommon.Map) attributes {
	read := attributes{make(object, pairs.Len()), make([]string, 0, pairs.Len())}
	for key, value := range pairs.All() {
		if _, known := read.values[key]; !known {
			read.order = append(read.order, key)
		}
		read.values[key] = valueOf(value)
	}
	return read
}

// text is the value of a key if it is text, else "".
func (a attributes) text(key string) string {
	said, _ := a.values[key].(string)
	return said
}

// has tells whether the key is there, be it with an empty value.
func (a attributes) has(key string) bool {
	_, found := a.values[key]
	return found
}

// valueOf is an OTLP value as JSON: bytes become base64, NaN and infinities their names, an empty value nil.
func valueOf(value pcommon.Value) any {
	switch value.Type() {
	case pcommon.ValueTypeStr:
		return value.Str()
	case pcommon.ValueTypeBool:
		return value.Bool()
	case pcommon.ValueTypeInt:
		return value.Int()
	case pcommon.ValueTypeDouble:
		return finite(value.Double())
	case pcommon.ValueTypeBytes:
		return base64.StdEncoding.EncodeToString(value.Bytes().AsRaw())
	case pcommon.ValueTypeSlice:
		items := make([]any, 0, value.Slice().Len())
		for _, item := range value.Slice().All() {
			items = append(items, valueOf(item))
		}
		return items
	case pcommon.ValueTypeMap:
		return attributesOf(value.Map()).values
	default:
		return nil
	}
}

// finite is the number itself, or the name of what JSON has no number for.
func finite(number float64) any {
	switch {
	case math.IsNaN(number):
		return "NaN"
	case math.IsInf(number, 1):
		return "Infinity"
	case math.IsInf(number, -1):
		return "-Infinity"
	default:
		return number
	}
}

// parsed is the value, or what it says if it is the JSON text of an object or an array. Text that begins with neither
// `{` nor `[` is left alone, so that an answer such as `42` stays text.
func parsed(value any) any {
	text, isText := value.(string)
	if !isText {
		return value
	}
	start := strings.TrimLeftFunc(text, isBlank)
	if start == "" || (start[0] != '{' && start[0] != '[') {
		return value
	}
	if read, err := parseJSON(text); err == nil {
		return read
	}
	return value
}

// textOf is the value itself if it is text, else its JSON; an absent one is empty.
func textOf(value any) string {
	switch said := value.(type) {
	case nil:
		return ""
	case string:
		return said
	default:
		return compactJSON(value)
	}
}

// truthy tells whether the value says anything at all: not nil, false, zero or empty.
func truthy(value any) bool {
	switch said := value.(type) {
	case nil:
		return false
	case bool:
		return said
	case string:
		return said != ""
	case int64:
		return said != 0
	case float64:
		return said != 0
	case []any:
		return len(said) > 0
	case object:
		return len(said) > 0
	default:
		return true
	}
}

// orElse is the first of both that says anything.
func orElse(value, otherwise any) any {
	if truthy(value) {
		return value
	}
	return otherwise
}

// isBlank is Unicode's white space and the four ASCII separators, as the Python implementation counts them.
func isBlank(letter rune) bool {
	return unicode.IsSpace(letter) || (letter >= 0x1c && letter <= 0x1f)
}

func strip(text string) string { return strings.TrimFunc(text, isBlank) }

// allDigits tells whether the text is made of ASCII digits, at least one.
func allDigits(text string) bool {
	for _, letter := range []byte(text) {
		if letter < '0' || letter > '9' {
			return false
		}
	}
	return text != ""
}

// firstLetters is the text's first `limit` letters (code points).
func firstLetters(text string, limit int) string {
	if utf8.RuneCountInString(text) <= limit {
		return text
	}
	return string([]rune(text)[:limit])
}

// timestamp is a moment as ISO 8601 in UTC, cut to microseconds, which is what Opik keeps and shows.
func timestamp(moment pcommon.Timestamp) string {
	return timestampMicros(int64(moment / 1000)) //nolint:gosec // 2^64 nanoseconds are less than 2^63 microseconds
}

// timestampMicros is the same for Unix microseconds, within what Opik can store.
func timestampMicros(micros int64) string {
	micros = min(max(micros, 0), lastMicrosecond)
	return time.UnixMicro(micros).UTC().Format("2006-01-02T15:04:05.000000Z")
}
