package opikrows

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// deepest is how deep JSON text may be nested to be shown as what it says: servers refuse more, and the request with it.
const deepest = 100

var (
	errTrailing = errors.New("more than one JSON value")
	errTooDeep  = errors.New("JSON is nested too deep")
)

// parseJSON reads one JSON value. NaN and the infinities, which some programs write although JSON has none, become text.
func parseJSON(text string) (any, error) {
	read, err := parseStrictJSON(text)
	if err != nil && (strings.Contains(text, "NaN") || strings.Contains(text, "Infinity")) {
		return parseStrictJSON(quoteConstants(text))
	}
	return read, err
}

func parseStrictJSON(text string) (any, error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var read any
	if err := decoder.Decode(&read); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errTrailing
	}
	if deeperThan(read, deepest) {
		return nil, errTooDeep
	}
	return withNumbers(read), nil
}

// deeperThan tells whether objects and arrays stand in each other more than so many levels deep.
func deeperThan(value any, levels int) bool {
	switch read := value.(type) {
	case []any:
		return levels == 0 || slices.ContainsFunc(read, func(item any) bool { return deeperThan(item, levels-1) })
	case object:
		for _, item := range read {
			if deeperThan(item, levels-1) {
				return true
			}
		}
		return levels == 0
	}
	return false
}

// withNumbers replaces json.Number by int64 or float64 where one of them can hold it.
func withNumbers(value any) any {
	switch read := value.(type) {
	case json.Number:
		return number(read)
	case []any:
		for index, item := range read {
			read[index] = withNumbers(item)
		}
	case object:
		for key, item := range read {
			read[key] = withNumbers(item)
		}
	}
	return value
}

func number(text json.Number) any {
	if strings.ContainsAny(text.String(), ".eE") {
		read, _ := strconv.ParseFloat(text.String(), 64) // out of range: an infinity, which `finite` names
		return finite(read)
	}
	if read, err := text.Int64(); err == nil {
		return read
	}
	return text
}

// quoteConstants puts NaN, Infinity and -Infinity into quotes where they stand outside of text.
func quoteConstants(text string) string {
	var quoted strings.Builder
	inText := false
	for position := 0; position < len(text); position++ {
		letter := text[position]
		if inText && letter == '\\' && position+1 < len(text) {
			quoted.WriteString(text[position : position+2])
			position++
			continue
		}
		if letter == '"' {
			inText = !inText
		}
		if constant := constantAt(text[position:]); !inText && constant != "" {
			quoted.WriteString(`"` + constant + `"`)
			position += len(constant) - 1
			continue
		}
		quoted.WriteByte(letter)
	}
	return quoted.String()
}

func constantAt(text string) string {
	for _, constant := range []string{"NaN", "Infinity", "-Infinity"} {
		if strings.HasPrefix(text, constant) {
			return constant
		}
	}
	return ""
}

// compactJSON writes a value without spaces and with sorted keys. Text that becomes part of a row (a tool's arguments)
// is written by it, so it has to be the same text in every implementation: whole floats keep their `.0`, and nothing
// beyond what JSON demands is escaped.
func compactJSON(value any) string {
	var written bytes.Buffer
	writeJSON(&written, value)
	return written.String()
}

func writeJSON(to *bytes.Buffer, value any) {
	switch said := value.(type) {
	case nil:
		to.WriteString("null")
	case bool:
		to.WriteString(strconv.FormatBool(said))
	case int64:
		to.WriteString(strconv.FormatInt(said, 10))
	case float64:
		to.WriteString(floatText(said))
	case json.Number:
		to.WriteString(said.String())
	case string:
		writeText(to, said)
	case []string:
		writeList(to, said)
	case []any:
		writeList(to, said)
	case []object:
		writeList(to, said)
	case object:
		writeObject(to, said)
	case map[string]string:
		writeObject(to, said)
	default:
		panic("opikrows: a value that is not JSON") // all values are made in this package
	}
}

func writeList[T any](to *bytes.Buffer, items []T) {
	to.WriteByte('[')
	for index, item := range items {
		if index > 0 {
			to.WriteByte(',')
		}
		writeJSON(to, item)
	}
	to.WriteByte(']')
}

func writeObject[T any](to *bytes.Buffer, fields map[string]T) {
	keys := make([]string, 0, len(fields))
	for key := range fields {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	to.WriteByte('{')
	for index, key := range keys {
		if index > 0 {
			to.WriteByte(',')
		}
		writeText(to, key)
		to.WriteByte(':')
		writeJSON(to, fields[key])
	}
	to.WriteByte('}')
}

const hexDigits = "0123456789abcdef"

// writeText writes a JSON string. Bytes that are no UTF-8 become U+FFFD.
func writeText(to *bytes.Buffer, text string) {
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\uFFFD")
	}
	to.WriteByte('"')
	from := 0
	for position := range len(text) {
		letter := text[position]
		if letter >= 0x20 && letter != '"' && letter != '\\' {
			continue
		}
		to.WriteString(text[from:position])
		from = position + 1
		writeEscape(to, letter)
	}
	to.WriteString(text[from:])
	to.WriteByte('"')
}

func writeEscape(to *bytes.Buffer, letter byte) {
	switch letter {
	case '"', '\\':
		to.Write([]byte{'\\', letter})
	case '\n':
		to.WriteString(`\n`)
	case '\r':
		to.WriteString(`\r`)
	case '\t':
		to.WriteString(`\t`)
	case '\b':
		to.WriteString(`\b`)
	case '\f':
		to.WriteString(`\f`)
	default:
		to.Write([]byte{'\\', 'u', '0', '0', hexDigits[letter>>4], hexDigits[letter&0xf]})
	}
}

// floatText is the shortest text that reads back as the same number, always told apart from a whole number.
func floatText(number float64) string {
	size := math.Abs(number)
	if size != 0 && (size < 1e-4 || size >= 1e16) {
		return strconv.FormatFloat(number, 'e', -1, 64)
	}
	text := strconv.FormatFloat(number, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}
