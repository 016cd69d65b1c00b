package secretsprocessor

import (
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	mask = "****"
	// longestName of a member is looked at; what is longer is no name that anybody would block.
	longestName = 128
	// mostNames are remembered, for anybody may send others without end.
	mostNames = 4096
)

// masker knows what to mask, by name and by shape.
type masker struct {
	keys   []*regexp.Regexp
	values []pattern

	names   sync.Map // name -> whether it is blocked: the same few names come with every span
	unknown atomic.Int64
}

func newMasker(cfg *Config) (*masker, error) {
	keys, err := compiled("blocked_key_patterns", cfg.BlockedKeyPatterns)
	if err != nil {
		return nil, err
	}
	values, err := compiled("blocked_values", cfg.BlockedValues)
	made := &masker{keys: keys}
	for _, each := range values {
		made.values = append(made.values, patternOf(each))
	}
	made.unknown.Store(mostNames)
	return made, err
}

// isBlocked says whether what a name stands for is masked.
func (m *masker) isBlocked(name string) bool {
	if len(name) > longestName {
		name = name[len(name)-longestName:]
	}
	if known, found := m.names.Load(name); found {
		return known.(bool)
	}
	blocked := slices.ContainsFunc(m.keys, func(pattern *regexp.Regexp) bool { return pattern.MatchString(name) })
	if m.unknown.Add(-1) >= 0 {
		m.names.Store(strings.Clone(name), blocked) // not the text that it was found in
	}
	return blocked
}

// text is the text with its secrets masked: first members with a blocked name, then what has the shape of a secret.
func (m *masker) text(text string) string {
	text = m.members(text)
	for _, each := range m.values {
		if matches := each.matches(text); matches != nil {
			text = cutOut(text, matches)
		}
	}
	return text
}

// cutOut puts the mask in the place of matches. The letter of an escape before one (`\n` and then an address) is no part of it: without
// the letter JSON would be none any more.
func cutOut(text string, matches [][]int) string {
	var made strings.Builder
	end := 0
	for _, match := range matches {
		begin := match[0]
		if begin > 0 && text[begin-1] == '\\' {
			begin += lengthOfEscape(text[begin])
		}
		if begin >= match[1] {
			continue
		}
		made.WriteString(text[end:begin])
		made.WriteString(mask)
		end = match[1]
	}
	made.WriteString(text[end:])
	return made.String()
}

func lengthOfEscape(letter byte) int {
	switch letter {
	case 'u':
		return len("u0000")
	case 'n', 'r', 't', 'b', 'f':
		return 1
	}
	return 0
}

// members masks what stands behind blocked names in JSON, whole or in pieces, alone or within other text, and within strings of JSON, where
// quotation marks are escaped. Python's way of writing a dictionary, in single quotation marks, is understood as well.
func (m *masker) members(text string) string {
	if !strings.ContainsAny(text, `"'`) {
		return text
	}
	var made strings.Builder
	written := 0
	for at := 0; at < len(text); {
		colon := strings.IndexByte(text[at:], ':')
		if colon < 0 {
			break
		}
		at += colon + 1
		name, escapes := nameBefore(text[:at-1])
		if name == "" || !m.isBlocked(name) {
			continue
		}
		begin, end, bare := valueIn(text, at, escapes)
		if begin == end {
			continue
		}
		made.WriteString(text[written:begin])
		if bare {
			quote := strings.Repeat(`\`, escapes) + `"`
			made.WriteString(quote + mask + quote)
		} else {
			made.WriteString(mask)
		}
		written, at = end, end
	}
	if written == 0 {
		return text
	}
	made.WriteString(text[written:])
	return made.String()
}

// nameBefore is the quoted name at the end of a text, and how many escapes stand before each of its quotation marks.
func nameBefore(text string) (name string, escapes int) {
	text = strings.TrimRight(text, " \t\r\n")
	if text == "" || !isQuote(text[len(text)-1]) {
		return "", 0
	}
	quote := text[len(text)-1]
	text = text[:len(text)-1]
	escapes = escapesAt(text)
	text = text[:len(text)-escapes]
	skipped := max(0, len(text)-longestName-1)
	begin := skipped + strings.LastIndexByte(text[skipped:], quote)
	if begin < skipped || escapesAt(text[:begin]) != escapes {
		return "", 0
	}
	return text[begin+1:], escapes
}

// valueIn finds the value that begins behind a colon: within its quotation marks, or bare, which is a number, a word, a list or an object.
func valueIn(text string, at, escapes int) (begin, end int, bare bool) {
	for at < len(text) && strings.IndexByte(" \t\r\n", text[at]) >= 0 {
		at++
	}
	if first := at + escapes; first < len(text) && isQuote(text[first]) && strings.Trim(text[at:first], `\`) == "" {
		return first + 1, endOfString(text, first+1, text[first], escapes), false
	}
	if at < len(text) && (text[at] == '{' || text[at] == '[') {
		return at, endOfNest(text, at, escapes), true
	}
	end = at
	for end < len(text) && strings.IndexByte(",}]\"' \t\r\n\\", text[end]) < 0 {
		end++
	}
	if word := text[at:end]; word == "null" || word == "None" {
		return at, at, true
	}
	return at, end, true
}

// endOfString is where the escapes before its closing quotation mark begin; the end of the text if it was cut off. Each backslash of the string
// is as many as there are escapes, and one; pairs of them are the string's own, and one more makes the mark behind it part of the string.
func endOfString(text string, at int, quote byte, escapes int) int {
	for ; at < len(text); at++ {
		if text[at] != quote {
			continue
		}
		if escapesAt(text[:at])%(2*escapes+2) == escapes {
			return at - escapes
		}
	}
	return len(text)
}

// endOfNest is behind the bracket that closes a list or an object.
func endOfNest(text string, at, escapes int) int {
	depth := 0
	for ; at < len(text); at++ {
		switch text[at] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return at + 1
			}
		case '"':
			at = endOfString(text, at+1, '"', escapes) + escapes
		}
	}
	return len(text)
}

func isQuote(letter byte) bool { return letter == '"' || letter == '\'' }

func escapesAt(text string) int { return len(text) - len(strings.TrimRight(text, `\`)) }
