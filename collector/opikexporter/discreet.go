package opikexporter

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
)

const (
	// shownAlike is how many letters of a server's words may be those of the request in one piece: fewer are a name or a
	// value that it complains about, more are the request itself, which holds prompts. What is twice as long is always noticed.
	shownAlike  = 32
	leastSecret = 6 // letters; what is shorter is in every text
	masked      = "****"
)

var idText = regexp.MustCompile(`[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`)

// discreet is an answer of which the words may be logged: a server, or a proxy before it, that repeats what it was sent would
// put prompts and the key into the log. Ids are no secret.
func discreet(got answer, sent []byte, apiKey string) answer {
	if len(apiKey) >= leastSecret {
		got.body = bytes.ReplaceAll(got.body, []byte(apiKey), []byte(masked))
	}
	if got.status >= 300 && repeats(wordsOf(got), sent) {
		got.body = nil
	}
	return got
}

// repeats says whether words repeat what was sent.
func repeats(words string, sent []byte) bool {
	words = idText.ReplaceAllString(words, "")
	for at := 0; at+shownAlike <= len(words); at += shownAlike / 2 {
		if bytes.Contains(sent, []byte(words[at:at+shownAlike])) {
			return true
		}
	}
	return false
}

// silence is why no answer came, without secrets, and what to do about it.
type silence struct {
	words string
	cause error
}

func (s *silence) Error() string { return s.words }
func (s *silence) Unwrap() error { return s.cause }

// silent describes the error of a request that got no answer.
func silent(what string, cause error, apiKey string) error {
	said := cause.Error()
	if len(apiKey) >= leastSecret {
		said = strings.ReplaceAll(said, apiKey, masked) // a server's first line is quoted, whatever it is
	}
	return &silence{what + ": " + said[:min(len(said), maxWords)] + ". " + remedyOf(cause), cause}
}

// remedyOf is the likely cause of a silence, and what to do.
func remedyOf(cause error) string {
	var (
		unknown  x509.UnknownAuthorityError
		name     x509.HostnameError
		invalid  x509.CertificateInvalidError
		noTLS    tls.RecordHeaderError
		noName   *net.DNSError
		atDialup *net.OpError
	)
	switch {
	case errors.As(cause, &atDialup) && atDialup.Op == "proxyconnect":
		return "The proxy cannot be reached: correct proxy_url or HTTPS_PROXY, or put the host into NO_PROXY."
	case errors.As(cause, &unknown):
		return "Its certificate is by an authority that is not known here: name that in tls::ca_file, or in SSL_CERT_FILE."
	case errors.As(cause, &name), errors.As(cause, &invalid):
		return "Its certificate is not for this host, or not for now: correct endpoint, the certificate, or the clock."
	case errors.As(cause, &noTLS), errors.Is(cause, http.ErrSchemeMismatch):
		return "It does not speak TLS: write http:// in endpoint."
	case errors.As(cause, &noName):
		return "The host name does not resolve: correct endpoint, or look at this machine's DNS."
	case errors.Is(cause, syscall.ECONNREFUSED):
		return "Nothing listens there: start Opik, or correct endpoint."
	case errors.Is(cause, context.Canceled):
		return "It was not waited for, since the Collector ends."
	case errors.Is(cause, context.DeadlineExceeded), errors.Is(cause, os.ErrDeadlineExceeded):
		return "It is too slow, or a firewall swallows the request; it will be tried again."
	}
	return "If this lasts, see whether endpoint has the right scheme and port, and look at Opik's own log."
}
