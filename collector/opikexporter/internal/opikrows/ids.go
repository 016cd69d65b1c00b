package opikrows

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// Opik takes UUIDv7 only (RFC 9562 section 5.7: 48 bits of Unix milliseconds, version, variant, 74 more bits). Its ids
// are pure functions of OpenTelemetry's, so that every process and every route agrees on them, and a resend is an upsert.

const (
	tracestateKey = "otelllm"
	// foreignStepMillis is how coarse the time of a trace is that says nothing about its own.
	foreignStepMillis = 1 << 16
	// plausibleMillis is how far the time in our own trace ids may be from the span's start: 45 days.
	plausibleMillis = 45 * 24 * 3600 * 1000
	maxMillis       = 1<<48 - 1
	variantDigits   = "89ab"
)

var uuid7Text = regexp.MustCompile(`\A[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-7[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}\z`)

// stamp is what our tracestate entry says about a trace that began elsewhere.
type stamp struct {
	millis int64
	// foreignParent is the last span before ours (16 hexadecimal digits), which Opik will never see.
	foreignParent string
}

// uuid7From is the UUIDv7 of Unix milliseconds and the first ten bytes of `tail`.
func uuid7From(millis int64, tail []byte) string {
	raw := make([]byte, 16)
	for index := range 6 {
		raw[index] = byte(millis >> (40 - 8*index))
	}
	copy(raw[6:], tail[:10])
	raw[6] = 0x70 | raw[6]&0x0f
	raw[8] = 0x80 | raw[8]&0x3f
	return uuidText(raw)
}

func uuidText(raw []byte) string {
	digits := hex.EncodeToString(raw)
	return digits[:8] + "-" + digits[8:12] + "-" + digits[12:16] + "-" + digits[16:20] + "-" + digits[20:]
}

// uuidMillis is the time that a UUIDv7 text carries.
func uuidMillis(uuid string) int64 {
	millis, _ := strconv.ParseInt(uuid[:8]+uuid[9:13], 16, 64) // a UUID by construction
	return millis
}

// uuid7OrNone is the value in lower case if it is the text of a UUIDv7, else "".
func uuid7OrNone(value any) string {
	if text, isText := value.(string); isText && uuid7Text.MatchString(text) {
		return strings.ToLower(text)
	}
	return ""
}

// ownTraceID is the trace id itself as a UUID, if it is a UUIDv7 with a plausible time; "" for a foreign one.
func ownTraceID(id pcommon.TraceID, start pcommon.Timestamp) string {
	if id[6]>>4 != 7 || id[8]>>6 != 0b10 {
		return ""
	}
	text := uuidText(id[:])
	distance := uuidMillis(text) - millisOf(start)
	if distance < -plausibleMillis || distance > plausibleMillis {
		return ""
	}
	return text
}

// foreignTraceID is the Opik id of a trace whose time had to be settled on.
func foreignTraceID(id pcommon.TraceID, millis int64) string {
	digest := sha256.Sum256(id[:])
	return uuid7From(millis, digest[:])
}

// foreignMillis is the time that an unstamped foreign trace gets: the step in which the span started.
func foreignMillis(start pcommon.Timestamp) int64 {
	millis := millisOf(start)
	return (millis - millis%foreignStepMillis) & maxMillis
}

// opikSpanID is the trace's millisecond and a hash of both OpenTelemetry ids.
func opikSpanID(opikTrace string, trace pcommon.TraceID, span pcommon.SpanID) string {
	digest := sha256.Sum256(append(trace[:], span[:]...))
	digits := hex.EncodeToString(digest[:10])
	return opikTrace[:13] + "-7" + digits[1:4] + "-" + variantOf(digest[2]) + digits[5:8] + "-" + digits[8:20]
}

func variantOf(octet byte) string { return string(variantDigits[octet>>4&0b11]) }

// readStamp finds our entry in a tracestate value; nil where there is none or it is malformed.
func readStamp(traceState string) *stamp {
	if !strings.Contains(traceState, tracestateKey) {
		return nil
	}
	for entry := range strings.SplitSeq(traceState, ",") {
		key, value, _ := strings.Cut(strip(entry), "=")
		if key == tracestateKey {
			return parseStamp(value)
		}
	}
	return nil
}

func parseStamp(value string) *stamp {
	fields := map[string]string{}
	for part := range strings.SplitSeq(value, ";") {
		key, said, _ := strings.Cut(part, ":")
		fields[key] = said
	}
	millis, err := strconv.ParseInt(fields["t"], 16, 64)
	if err != nil || millis <= 0 || millis > maxMillis {
		return nil
	}
	return &stamp{millis, fields["p"]}
}

func millisOf(moment pcommon.Timestamp) int64 { return int64(moment / 1_000_000) } //nolint:gosec // far below 2^63
