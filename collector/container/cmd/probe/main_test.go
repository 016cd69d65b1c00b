package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestAsk(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	if err := ask(server.URL); err != nil {
		t.Errorf("a healthy Collector: %v", err)
	}
	status = http.StatusServiceUnavailable
	if ask(server.URL) == nil {
		t.Error("503 must fail")
	}
	server.Close()
	if ask(server.URL) == nil {
		t.Error("no answer must fail")
	}
}

func TestTarget(t *testing.T) {
	for _, c := range []struct {
		arguments []string
		port      string
		want      string
	}{
		{nil, "", "http://127.0.0.1:13133/"},
		{nil, "14000", "http://127.0.0.1:14000/"},
		{[]string{"http://[::1]:1/"}, "14000", "http://[::1]:1/"},
	} {
		if got := target(c.arguments, c.port); got != c.want {
			t.Errorf("target(%v, %q) = %q, want %q", c.arguments, c.port, got, c.want)
		}
	}
}
