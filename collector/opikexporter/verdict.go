package opikexporter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/exporter/exporterhelper"
)

const (
	// maxWait is how long a server may make us wait in one go.
	maxWait  = 15 * time.Minute
	maxWords = 500
)

var (
	badIndexText = regexp.MustCompile(`(?:spans|traces|scores)\[(\d+)\]|ArrayList\[(\d+)\]`)

	refusals = map[int]string{
		http.StatusBadRequest:            reasonInvalid,
		http.StatusConflict:              "conflict",
		http.StatusRequestEntityTooLarge: "too_large",
		http.StatusUnprocessableEntity:   reasonInvalid,
	}

	// remedies: status -> what is wrong with the settings. The data is kept meanwhile.
	remedies = map[int]string{
		http.StatusUnauthorized:      "The API key is missing, wrong or revoked: correct api_key.",
		http.StatusPaymentRequired:   "The plan's quota is used up: raise it, or wait until it is renewed.",
		http.StatusForbidden:         "The key may not write to this workspace or project: correct workspace, or get access.",
		http.StatusNotFound:          "The endpoint or the workspace does not exist there: the API usually ends in /api, and without login there is only the workspace `default`.",
		http.StatusProxyAuthRequired: "The proxy wants a login: correct proxy_url.",
	}
)

// answer is what a server said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// refused is an error about the rows: at least one of them will never be taken.
type refused struct {
	// reason is `invalid`, `too_old`, `too_large` or `conflict`.
	reason string
	words  string
	// badIndex is the position of the bad row where the server named it, else -1.
	badIndex int
}

func (r *refused) Error() string { return "Opik refused the rows (" + r.reason + "): " + r.words }

// failure is an error of Opik's own (5xx), which may lie with the rows: a server can fail on what it cannot digest.
type failure struct{ words string }

func (f *failure) Error() string { return f.words }

// closed is an answer about the workspace (or the key, or the address): as long as that is so no rows are taken there.
type closed struct{ words string }

func (c *closed) Error() string { return c.words }

const (
	reasonInvalid = "invalid"
	// Reasons that a status alone does not give.
	reasonTooOld      = "too_old"
	reasonServerError = "server_error"
	reasonClosed      = "workspace_closed"
)

// judge is nil if the rows were taken, *refused if one of them never will be, else an error that is worth a retry.
func judge(got answer) error {
	_, isRefusal := refusals[got.status]
	switch {
	case got.status >= 200 && got.status < 300:
		if isReceipt(got) {
			return nil
		}
		return notOpik(got)
	case got.status >= 300 && got.status < 400:
		return fmt.Errorf("the endpoint redirects (HTTP %d), which is not followed: it may be a login page. "+
			"Set endpoint to the address of Opik's API itself", got.status)
	case isRefusal && (!isHTML(got) || got.status == http.StatusRequestEntityTooLarge):
		return refusal(got)
	case isHTML(got) && got.status < 500 && got.status != http.StatusTooManyRequests:
		return notOpik(got)
	}
	return later(got)
}

func isHTML(got answer) bool {
	return strings.Contains(strings.ToLower(got.header.Get("Content-Type")), "html") ||
		bytes.HasPrefix(bytes.TrimSpace(got.body), []byte("<"))
}

// isReceipt tells an answer of Opik's from a page: nothing, or JSON.
func isReceipt(got answer) bool {
	body := bytes.TrimSpace(got.body)
	return len(body) == 0 || (!isHTML(got) && json.Valid(body))
}

func notOpik(got answer) error {
	return fmt.Errorf("HTTP %d with something that is not Opik's API. Most likely endpoint is the address of Opik's web "+
		"page, or a login page answers in its place; a self-hosted Opik's API is at http://HOST:5173/api", got.status)
}

func refusal(got answer) *refused {
	words := wordsOf(got)
	found := &refused{refusals[got.status], words, -1}
	if strings.Contains(words, "too_old") {
		found.reason = reasonTooOld
	}
	indexes := map[string]bool{}
	for _, match := range badIndexText.FindAllStringSubmatch(words, -1) {
		indexes[match[1]+match[2]] = true
	}
	for index := range indexes {
		if number, err := strconv.Atoi(index); err == nil && len(indexes) == 1 {
			found.badIndex = number
		}
	}
	return found
}

// later is an error that is worth a retry, no sooner than the server asks for.
func later(got answer) error {
	//lint:ignore ST1005 Opik is a name
	err := fmt.Errorf("Opik answered HTTP %d (%s). %s", got.status, wordsOf(got), remedies[got.status])
	switch got.status {
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound:
		err = &closed{err.Error()}
	}
	if wait := waitOf(got.header); wait > 0 {
		return exporterhelper.NewThrottleRetry(err, wait)
	}
	if got.status >= 500 {
		return &failure{err.Error()}
	}
	return err
}

// waitOf reads RateLimit-Reset (Opik's way) or Retry-After (seconds or a date); 0 without a sane one.
func waitOf(header http.Header) time.Duration {
	for _, name := range []string{"RateLimit-Reset", "Retry-After"} {
		value := strings.TrimSpace(header.Get(name))
		if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
			return min(time.Duration(seconds)*time.Second, maxWait) //nolint:gosec // 32 bits
		}
	}
	until, err := http.ParseTime(header.Get("Retry-After"))
	now, errNow := http.ParseTime(header.Get("Date")) // the server's own clock, so that ours need not be right
	if err != nil || errNow != nil {
		return 0
	}
	return min(max(until.Sub(now), 0), maxWait)
}

// wordsOf is what the server said, in one line: Opik has two shapes of error bodies.
func wordsOf(got answer) string {
	var told struct {
		Errors  []any `json:"errors"`
		Message any   `json:"message"`
		Details any   `json:"details"`
	}
	text := ""
	if json.Unmarshal(got.body, &told) == nil {
		for _, piece := range append(told.Errors, told.Message, told.Details) {
			if piece != nil {
				text += fmt.Sprint(piece) + "; "
			}
		}
	} else if !isHTML(got) {
		text = string(got.body)
	}
	words := strings.Trim(strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " "), "; ")
	if words == "" {
		return http.StatusText(got.status)
	}
	return words[:min(len(words), maxWords)]
}
