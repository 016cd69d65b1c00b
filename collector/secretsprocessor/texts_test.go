package secretsprocessor

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const key = "sk-canary0123456789abcdef"

func usual(t testing.TB) *masker {
	t.Helper()
	made, err := newMasker(createDefaultConfig().(*Config))
	require.NoError(t, err)
	return made
}

// What is masked in a text, and what is not.
func TestTexts(t *testing.T) {
	of := usual(t)
	for text, wanted := range map[string]string{
		"nothing here: at all":                                               "nothing here: at all",
		"use " + key + ", bob@example.com":                                   "use ****, ****",
		`{"api_key":"x","model":"m"}`:                                        `{"api_key":"****","model":"m"}`,
		`{"X-Api-Key" : "a\"b\\", "n": 1}`:                                   `{"X-Api-Key" : "****", "n": 1}`,
		`{"password": 12345, "n": null}`:                                     `{"password": "****", "n": null}`,
		`{"secret":null,"password":true}`:                                    `{"secret":null,"password":"****"}`,
		`{"secret": ["a]", {"b": "}"}], "n": 1}`:                             `{"secret": "****", "n": 1}`,
		`[{"role":"user","client_secret":"s"}]`:                              `[{"role":"user","client_secret":"****"}]`,
		`{"arguments":"{\"apiKey\": \"a\\\"b\"}"}`:                           `{"arguments":"{\"apiKey\": \"****\"}"}`,
		`{"arguments":"{\"password\": 1, \"b\":2}"}`:                         `{"arguments":"{\"password\": \"****\", \"b\":2}"}`,
		`{"a":"{\"b\":\"{\\\"token\\\":1,\\\"auth_token\\\":\\\"x\\\"}\"}"}`: `{"a":"{\"b\":\"{\\\"token\\\":1,\\\"auth_token\\\":\\\"****\\\"}\"}"}`,
		`failed: {"api_key": "cut of`:                                        `failed: {"api_key": "****`,
		`he said "so: {"password":"x"}`:                                      `he said "so: {"password":"****"}`,
		`{'password': 'x', 'n': None}`:                                       `{'password': '****', 'n': None}`,
		`{"text":"see\nbob@example.com"}`:                                    `{"text":"see\n****"}`,
		`{"text":"\u00e9bob@example.com"}`:                                   `{"text":"\u00e9****"}`,
		`{"max_tokens":5,"secretary":"Bob"}`:                                 `{"max_tokens":5,"secretary":"Bob"}`,
		`{"password":""}`:                                                    `{"password":""}`,
		`"password":`:                                                        `"password":`,
		`{"password":`:                                                       `{"password":`,
	} {
		assert.Equal(t, wanted, of.text(text), text)
	}
}

// Letters that a text needs to match are those of every match, or none are asked for.
func TestNeeded(t *testing.T) {
	for expression, needed := range map[string]string{
		`sk-[a-z]+`: "sk-", `[a-z]+@[a-z]+\.de`: "@", `(abc)+d`: "abc", `(?i)abc`: "", `abc|abd`: "ab", `a*bc`: "bc", `x?`: "", `(a|b)c{2}`: "c", `a{0,3}`: "",
	} {
		assert.Equal(t, needed, patternOf(regexp.MustCompile(expression)).needed, expression)
	}
	for _, either := range []string{`abc|xyz`, `(foo|bar)`, `(?:a|bc)?`} {
		assert.Empty(t, patternOf(regexp.MustCompile(either)).needed, either)
	}
}

// Whatever the text, nothing panics, what is masked once is masked, and JSON stays JSON.
func FuzzTexts(f *testing.F) {
	for _, text := range []string{
		`{"api_key":"x"}`, `{"a":"{\"password\":\"x\\\\\"}"}`, `{"secret":[{"a":"]"}]}`, `{"t":"\nbob@example.com\u00e9a@b.cc"}`,
		`'secret':'`, `\"secret\":\"`, `{"secret":-1e5,"b":[]}`, strings.Repeat(`{"a":`, 50) + `"secret":"`,
	} {
		f.Add(text)
	}
	of := usual(f)
	f.Fuzz(func(t *testing.T, text string) {
		masked := of.text(text)
		if json.Valid([]byte(text)) {
			assert.True(t, json.Valid([]byte(masked)), "%q became %q", text, masked)
		}
		of.text(masked)
	})
}
