package opikexporter

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/otel-llm/otel-llm/collector/opikexporter/internal/metadata"
	"go.opentelemetry.io/collector/exporter/exportertest"
)

// Traces go before spans, gzipped, with key and workspace, and however often they are sent, they are there once.
func TestRowsArriveOnce(t *testing.T) {
	server := newOpikServer(t)
	opik := startOpik(t, server.URL, func(cfg *Config) { cfg.APIKey = "secret" })
	for range 2 {
		require.NoError(t, opik.ConsumeTraces(context.Background(), spansNamed("root", "chat")))
	}
	assert.ElementsMatch(t, []string{"root"}, server.names(kindTraces))
	assert.ElementsMatch(t, []string{"root", "chat"}, server.names(kindSpans))
	require.Len(t, server.calls, 4)
	assert.Equal(t, kindTraces, server.calls[0].of)
	assert.Equal(t, "secret", server.calls[0].header.Get("Authorization"))
	assert.Equal(t, "default", server.calls[0].header.Get("Comet-Workspace"))
	assert.Equal(t, "gzip", server.calls[0].header.Get("Content-Encoding"))
}

// Two tenants' spans of one request go to their projects and workspaces.
func TestTenantsAreKeptApart(t *testing.T) {
	server := newOpikServer(t)
	opik := startOpik(t, server.URL, func(cfg *Config) {
		cfg.Tenants = map[string]string{"acme": "acme-llm", "globex": "globex-llm @globex"}
	})
	traces := spansNamed("a", "b", "c")
	spans := traces.ResourceSpans().At(0).ScopeSpans().At(0).Spans()
	spans.At(1).Attributes().PutStr("tenant.id", "acme")
	spans.At(2).Attributes().PutStr("tenant.id", "globex")
	require.NoError(t, opik.ConsumeTraces(context.Background(), traces))
	sent := map[string]string{}
	for _, each := range server.calls {
		for _, row := range each.rows {
			sent[fmt.Sprint(each.of, " ", row["name"])] = fmt.Sprint(row["project_name"], " @", each.header.Get("Comet-Workspace"))
		}
	}
	assert.Equal(t, map[string]string{
		"traces a": "shop @default", "traces b": "acme-llm @default", "traces c": "globex-llm @globex",
		"spans a": "shop @default", "spans b": "acme-llm @default", "spans c": "globex-llm @globex",
	}, sent)
	for _, each := range server.calls {
		ids := map[any]bool{}
		for _, row := range each.rows {
			ids[row["id"]] = true
		}
		assert.Len(t, ids, len(each.rows), "Opik keeps one row of each id in a request")
	}
}

// One span that Opik never takes is found by halving; all others arrive, and the loss is counted with its reason.
func TestPoisonSpanIsIsolated(t *testing.T) {
	for _, status := range []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			server := newOpikServer(t)
			server.reply = func(answer http.ResponseWriter, got call) bool {
				for _, row := range got.rows {
					if got.of == kindSpans && row["name"] == "poison" {
						return refuse(answer, status, "this span is bad")
					}
				}
				return false
			}
			names := make([]string, 100)
			for index := range names {
				names[index] = fmt.Sprintf("span %d", index)
			}
			names[37] = "poison"
			own := componenttest.NewTelemetry()
			t.Cleanup(func() { assert.NoError(t, own.Shutdown(context.Background())) })
			opik := startWith(t, server.URL, own)
			require.NoError(t, opik.ConsumeTraces(context.Background(), spansNamed(names...)))
			assert.ElementsMatch(t, append(names[:37:37], names[38:]...), server.names(kindSpans))
			rejected, err := own.GetMetric("otelcol_exporter_opik_rejected_spans")
			require.NoError(t, err)
			points := rejected.Data.(metricdata.Sum[int64]).DataPoints
			require.Len(t, points, 1)
			reason, _ := points[0].Attributes.Value("reason")
			assert.Equal(t, refusals[status], reason.AsString())
			assert.EqualValues(t, 1, points[0].Value)
		})
	}
}

// startWith is startOpik with telemetry that a test can read.
func startWith(t *testing.T, endpoint string, own *componenttest.Telemetry) exporter.Traces {
	t.Helper()
	cfg := createDefaultConfig().(*Config)
	cfg.ClientConfig.Endpoint = endpoint
	set := exportertest.NewNopSettings(metadata.Type)
	set.TelemetrySettings = own.NewTelemetrySettings()
	opik, err := newOpikExporter(cfg, set)
	require.NoError(t, err)
	started, err := exporterhelper.NewTraces(context.Background(), set, cfg, opik.push,
		exporterhelper.WithStart(opik.start), exporterhelper.WithShutdown(opik.shutdown))
	require.NoError(t, err)
	require.NoError(t, started.Start(context.Background(), componenttest.NewNopHost()))
	t.Cleanup(func() { assert.NoError(t, started.Shutdown(context.Background())) })
	return started
}

// Where the server names the bad row, it is taken out at once instead of by halving.
func TestNamedRowIsTakenOut(t *testing.T) {
	server := newOpikServer(t)
	server.reply = func(answer http.ResponseWriter, got call) bool {
		for index, row := range got.rows {
			if got.of == kindSpans && row["name"] == "poison" {
				return refuse(answer, http.StatusUnprocessableEntity, fmt.Sprintf("spans[%d].name is bad", index))
			}
		}
		return false
	}
	opik := startOpik(t, server.URL)
	require.NoError(t, opik.ConsumeTraces(context.Background(), spansNamed("a", "b", "poison", "d")))
	assert.ElementsMatch(t, []string{"a", "b", "d"}, server.names(kindSpans))
	assert.Len(t, server.calls, 4, "traces, all spans, the bad one, the others")
}

// A batch of which every span is refused is a permanent error, for the Collector to count.
func TestAllRefusedIsPermanent(t *testing.T) {
	server := newOpikServer(t)
	server.reply = func(answer http.ResponseWriter, _ call) bool {
		return refuse(answer, 400, "id must be a version 7 UUID")
	}
	err := startOpik(t, server.URL).ConsumeTraces(context.Background(), spansNamed("a", "b"))
	require.ErrorContains(t, err, "id must be a version 7 UUID")
	assert.True(t, consumererror.IsPermanent(err))
}

// A trace whose full row is refused is still listed, with its name and times.
func TestBareTrace(t *testing.T) {
	server := newOpikServer(t)
	server.reply = func(answer http.ResponseWriter, got call) bool {
		_, full := got.rows[0]["metadata"]
		return got.of == kindTraces && full && refuse(answer, 400, "metadata is bad")
	}
	require.NoError(t, startOpik(t, server.URL).ConsumeTraces(context.Background(), spansNamed("root")))
	assert.Equal(t, []string{"root"}, server.names(kindTraces))
}

// A retry of a batch goes on where the last attempt stopped.
func TestRetryGoesOn(t *testing.T) {
	server := newOpikServer(t)
	server.reply = func(answer http.ResponseWriter, got call) bool {
		return got.of == kindSpans && len(server.calls) == 2 && refuse(answer, http.StatusTooManyRequests, "slow down")
	}
	opik := startOpik(t, server.URL)
	require.Error(t, opik.ConsumeTraces(context.Background(), spansNamed("root", "chat")))
	require.NoError(t, opik.ConsumeTraces(context.Background(), spansNamed("root", "chat")))
	kinds := []kind{}
	for _, each := range server.calls {
		kinds = append(kinds, each.of)
	}
	assert.Equal(t, []kind{kindTraces, kindSpans, kindSpans}, kinds)
}

// A batch that Opik fails on while it takes others is divided, and a span that it fails on alone is refused and counted in the end.
func TestWhatOpikFailsOnIsFound(t *testing.T) {
	server := newOpikServer(t)
	server.reply = func(answer http.ResponseWriter, got call) bool {
		for _, row := range got.rows {
			if got.of == kindSpans && row["name"] == "poison" {
				return refuse(answer, http.StatusInternalServerError, "There was an error processing your request")
			}
		}
		return false
	}
	own := componenttest.NewTelemetry()
	t.Cleanup(func() { assert.NoError(t, own.Shutdown(context.Background())) })
	opik := startWith(t, server.URL, own)
	attempt := func() error {
		return opik.ConsumeTraces(context.Background(), spansNamed("root", "a", "poison", "b", "c"))
	}
	for range suspectAfter {
		require.ErrorContains(t, attempt(), "HTTP 500")
		require.NoError(t, opik.ConsumeTraces(context.Background(), spansNamed("other")))
	}
	assert.NotContains(t, server.names(kindSpans), "a", "the first failures may be anybody's")
	attempts := 0 // from here on nothing else is sent
	for attempts = range 2 * giveUpAfter {
		err := attempt()
		if err == nil {
			break
		}
		require.ErrorContains(t, err, "HTTP 500")
		require.False(t, consumererror.IsPermanent(err))
		assert.True(t, attempts == 0 || slices.Contains(server.names(kindSpans), "c"), "the others wait for the bad one")
	}
	assert.ElementsMatch(t, server.names(kindSpans), []string{"root", "a", "b", "c"})
	assert.InDelta(t, giveUpAfter-suspectAfter, attempts, 1)
	rejected, err := own.GetMetric("otelcol_exporter_opik_rejected_spans")
	require.NoError(t, err)
	points := rejected.Data.(metricdata.Sum[int64]).DataPoints
	require.Len(t, points, 1)
	reason, _ := points[0].Attributes.Value("reason")
	assert.Equal(t, "server_error", reason.AsString())
	assert.EqualValues(t, 1, points[0].Value)
}

// A workspace that Opik fails on is an outage of its own, whatever it takes for others; and to see whether it takes anything, no
// tenant's row goes to another's workspace.
func TestARowThatProvesStaysInItsWorkspace(t *testing.T) {
	server := newOpikServer(t)
	server.reply = func(answer http.ResponseWriter, got call) bool {
		return got.of == kindSpans && got.header.Get("Comet-Workspace") == "second" && refuse(answer, 500, "no")
	}
	opik := startOpik(t, server.URL, func(cfg *Config) {
		cfg.Tenants = map[string]string{"one": "p @first", "two": "p @second"}
	})
	traces := spansNamed("of one", "of one too", "of two", "of two too")
	for index, span := range traces.ResourceSpans().At(0).ScopeSpans().At(0).Spans().All() {
		span.Attributes().PutStr("tenant.id", []string{"one", "two"}[index/2])
	}
	for range 2*probeEvery + 2*giveUpAfter {
		require.Error(t, opik.ConsumeTraces(context.Background(), traces))
		require.NoError(t, opik.ConsumeTraces(context.Background(), spansNamed("other")))
	}
	for _, each := range server.calls {
		for _, row := range each.rows {
			if workspace := each.header.Get("Comet-Workspace"); workspace != "default" {
				assert.Equal(t, workspace == "first", strings.HasPrefix(row["name"].(string), "of one"))
			}
		}
	}
}

// Where every batch has such a span nothing is taken that would tell: all the same they are found.
func TestPoisonInEveryBatch(t *testing.T) {
	server := newOpikServer(t)
	server.reply = func(answer http.ResponseWriter, got call) bool {
		for _, row := range got.rows {
			if row["name"] == "poison" {
				return refuse(answer, 500, "no")
			}
		}
		return false
	}
	opik := startOpik(t, server.URL)
	for range probeEvery + suspectAfter + giveUpAfter + 1 {
		if opik.ConsumeTraces(context.Background(), spansNamed("root", "poison", "b")) == nil {
			assert.ElementsMatch(t, []string{"root", "b"}, server.names(kindSpans))
			return
		}
	}
	t.Fatal("the batch is tried for ever")
}

// As long as Opik takes no spans, whatever else it takes, no span is given up, and few more requests are sent.
func TestAnOutageIsNotBlamedOnABatch(t *testing.T) {
	server := newOpikServer(t)
	server.reply = func(answer http.ResponseWriter, got call) bool {
		return got.of == kindSpans && refuse(answer, 500, "no")
	}
	opik := startOpik(t, server.URL)
	names := make([]string, 64)
	for index := range names {
		names[index] = fmt.Sprint("span ", index)
	}
	const attempts = 4 * giveUpAfter
	for range attempts {
		require.Error(t, opik.ConsumeTraces(context.Background(), spansNamed(names...)))
	}
	assert.Less(t, len(server.calls), 2*attempts)
	server.reply = nil
	require.NoError(t, opik.ConsumeTraces(context.Background(), spansNamed(names...)))
	assert.ElementsMatch(t, names, server.names(kindSpans))
}

// A row of a trace that Opik fails on, even the bare one, holds up neither the spans nor the batch for ever.
func TestATraceThatOpikFailsOn(t *testing.T) {
	server := newOpikServer(t)
	server.reply = func(answer http.ResponseWriter, got call) bool {
		return got.of == kindTraces && got.rows[0]["name"] == "root" && refuse(answer, 500, "no")
	}
	opik := startOpik(t, server.URL)
	attempts := 0
	for attempts = range 2 * giveUpAfter {
		require.NoError(t, opik.ConsumeTraces(context.Background(), spansNamed("other")))
		if opik.ConsumeTraces(context.Background(), spansNamed("root", "chat")) == nil {
			break
		}
		if attempts == suspectAfter {
			assert.Contains(t, server.names(kindSpans), "chat")
		}
	}
	assert.Equal(t, giveUpAfter, attempts)
}

// In an outage that begins while a batch is divided, no row after row is tried.
func TestAnOutageIsNoPoison(t *testing.T) {
	server := newOpikServer(t)
	server.reply = func(answer http.ResponseWriter, got call) bool {
		return len(got.rows) > 1 && refuse(answer, 500, "no")
	}
	opik := startOpik(t, server.URL)
	names := make([]string, 64)
	for index := range names {
		names[index] = fmt.Sprint("span ", index)
	}
	for range suspectAfter {
		require.Error(t, opik.ConsumeTraces(context.Background(), spansNamed(names...)))
		require.NoError(t, opik.ConsumeTraces(context.Background(), spansNamed("other")))
	}
	server.reply = func(answer http.ResponseWriter, _ call) bool { return refuse(answer, 500, "no") }
	before := len(server.calls)
	require.Error(t, opik.ConsumeTraces(context.Background(), spansNamed(names...)))
	assert.Less(t, len(server.calls)-before, 12)
}

// What each answer means: taken, refused for good, or worth a retry, and after how long.
func TestJudge(t *testing.T) {
	html, plain := http.Header{"Content-Type": {"text/html"}}, http.Header{}
	date := "Sun, 22 Nov 2026 12:00:00 GMT"
	for _, each := range []struct {
		name   string
		got    answer
		taken  bool
		reason string
		words  string
		wait   time.Duration
	}{
		{name: "nothing", got: answer{204, plain, nil}, taken: true},
		{name: "json", got: answer{200, plain, []byte(`{"ok":true}`)}, taken: true},
		{name: "a page that says 200", got: answer{200, html, []byte("<html>")}, words: "not Opik's API"},
		{name: "text that says 200", got: answer{200, plain, []byte("welcome")}, words: "not Opik's API"},
		{name: "redirect", got: answer{302, plain, nil}, words: "redirects"},
		{name: "400", got: answer{400, plain, []byte(`{"errors":["bad"]}`)}, reason: "invalid", words: "bad"},
		{name: "409", got: answer{409, plain, []byte(`{"message":"exists"}`)}, reason: "conflict", words: "exists"},
		{name: "413 of nginx", got: answer{413, html, []byte("<html>")}, reason: "too_large"},
		{name: "too old", got: answer{400, plain, []byte(`{"errors":["too_old"]}`)}, reason: "too_old"},
		{name: "400 of a page", got: answer{400, html, []byte("<html>")}, words: "not Opik's API"},
		{name: "401", got: answer{401, plain, nil}, words: "api_key"},
		{name: "404", got: answer{404, plain, nil}, words: "/api"},
		{name: "500", got: answer{500, plain, nil}, words: "HTTP 500"},
		{name: "502 page", got: answer{502, html, []byte("<html>")}, words: "HTTP 502"},
		{name: "429 reset", got: answer{429, http.Header{"Ratelimit-Reset": {"7"}}, nil}, words: "429", wait: 7 * time.Second},
		{name: "429 after", got: answer{429, http.Header{"Retry-After": {"9"}}, nil}, words: "429", wait: 9 * time.Second},
		{name: "429 absurd", got: answer{429, http.Header{"Retry-After": {"1000000000"}}, nil}, words: "429", wait: maxWait},
		{name: "429 garbage", got: answer{429, http.Header{"Retry-After": {"-5"}, "Ratelimit-Reset": {"soon"}}, nil}, words: "429"},
		{name: "503 date", got: answer{503, http.Header{"Retry-After": {"Sun, 22 Nov 2026 12:01:00 GMT"}, "Date": {date}}, nil}, words: "503", wait: time.Minute},
	} {
		t.Run(each.name, func(t *testing.T) {
			err := judge(each.got)
			if each.taken {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, each.words)
			var words *refused
			if assert.Equal(t, each.reason != "", assertAs(err, &words)); words != nil {
				assert.Equal(t, each.reason, words.reason)
			}
			assert.Equal(t, each.wait > 0, strings.Contains(err.Error(), "Throttle ("+each.wait.String()+")"))
			assert.False(t, consumererror.IsPermanent(err))
		})
	}
}

// A redirect is not followed: it would carry the key to a stranger and take a login page's 200 for success.
func TestRedirectIsNotFollowed(t *testing.T) {
	elsewhere := newOpikServer(t)
	redirecting := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	t.Cleanup(redirecting.Close)
	err := startOpik(t, redirecting.URL).ConsumeTraces(context.Background(), spansNamed("a"))
	require.ErrorContains(t, err, "redirects")
	assert.False(t, consumererror.IsPermanent(err))
	assert.Empty(t, elsewhere.calls)
}

// A server that is not there is worth a retry, and the key is in no error.
func TestNoServer(t *testing.T) {
	server := newOpikServer(t)
	server.Close()
	opik := startOpik(t, server.URL, func(cfg *Config) { cfg.APIKey = "canary" })
	err := opik.ConsumeTraces(context.Background(), spansNamed("a"))
	require.ErrorContains(t, err, "gave no answer")
	assert.False(t, consumererror.IsPermanent(err))
	assert.NotContains(t, err.Error(), "canary")
}

// A server or proxy that repeats the request in its answer brings neither prompts nor the key into an error, and so not into the log.
func TestAnEchoIsNotShown(t *testing.T) {
	for name, echo := range map[string]func(http.ResponseWriter, *http.Request, []byte){
		"as text": func(answer http.ResponseWriter, request *http.Request, sent []byte) {
			answer.WriteHeader(http.StatusBadGateway)
			_, _ = fmt.Fprintf(answer, "no upstream for %s %s", request.Header.Get("Authorization"), sent)
		},
		"as an error of Opik's": func(answer http.ResponseWriter, _ *http.Request, sent []byte) {
			refuse(answer, 400, "cannot read "+string(sent))
		},
		"the prompt alone": func(answer http.ResponseWriter, _ *http.Request, _ []byte) { refuse(answer, 422, "bad: "+echoedPrompt) },
		"the key alone": func(answer http.ResponseWriter, request *http.Request, _ []byte) {
			refuse(answer, 401, "unknown key "+request.Header.Get("Authorization"))
		},
		"in place of an answer": func(answer http.ResponseWriter, request *http.Request, _ []byte) {
			connection, _, err := answer.(http.Hijacker).Hijack()
			assert.NoError(t, err)
			_, _ = fmt.Fprintf(connection, "%s\r\n\r\n", request.Header.Get("Authorization"))
			_ = connection.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
				sent, err := io.ReadAll(request.Body)
				assert.NoError(t, err)
				echo(answer, request, sent)
			}))
			t.Cleanup(server.Close)
			opik := startOpik(t, server.URL, func(cfg *Config) {
				cfg.APIKey, cfg.ClientConfig.Compression = "key-canary", ""
			})
			batch := spansNamed("chat")
			span := batch.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
			span.Attributes().PutStr("gen_ai.operation.name", "chat")
			span.Attributes().PutStr("gen_ai.input.messages", `[{"role":"user","content":"`+echoedPrompt+`"}]`)
			err := opik.ConsumeTraces(context.Background(), batch)
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "prompt canary")
			assert.NotContains(t, err.Error(), "key-canary")
		})
	}
}

const echoedPrompt = "a prompt canary in a sentence of some length, as people write them to models"

// What Opik says about ids and names is shown as it is.
func TestWordsOfOpikAreShown(t *testing.T) {
	said := "Trace 01a20320-a200-7abc-8d00-000000000001 of project shop exists in another one"
	server := newOpikServer(t)
	server.reply = func(answer http.ResponseWriter, _ call) bool { return refuse(answer, 409, said) }
	assert.ErrorContains(t, startOpik(t, server.URL).ConsumeTraces(context.Background(), spansNamed("a")), said)
}

// Why no answer came is said with what to do.
func TestSilenceNamesTheRemedy(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		_, _ = io.Copy(io.Discard, request.Body)
		<-request.Context().Done()
	}))
	t.Cleanup(slow.Close)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, of := range map[string]struct {
		endpoint, says string
		change         func(*Config)
	}{
		"refused":      {gone.URL, "start Opik", nil},
		"unknown CA":   {secure.URL, "SSL_CERT_FILE", nil},
		"no TLS there": {strings.Replace(plain.URL, "http:", "https:", 1), "write http://", nil},
		"too slow":     {slow.URL, "too slow", func(cfg *Config) { cfg.ClientConfig.Timeout = 100 * time.Millisecond }},
		"no proxy":     {"http://opik.example", "NO_PROXY", func(cfg *Config) { cfg.ClientConfig.ProxyURL = gone.URL }},
	} {
		t.Run(name, func(t *testing.T) {
			change := []func(*Config){}
			if of.change != nil {
				change = append(change, of.change)
			}
			err := startOpik(t, of.endpoint, change...).ConsumeTraces(context.Background(), spansNamed("a"))
			require.ErrorContains(t, err, of.says)
			assert.False(t, consumererror.IsPermanent(err))
		})
	}
}

// Rows are packed in order, at most a thousand and about 5 MB to a request; a larger row goes alone.
func TestPacking(t *testing.T) {
	server := newOpikServer(t)
	names := make([]string, 2100)
	for index := range names {
		names[index] = fmt.Sprint(index)
	}
	names[10], names[11] = strings.Repeat("x", maxBytes+1), strings.Repeat("y", maxBytes/2)
	require.NoError(t, startOpik(t, server.URL).ConsumeTraces(context.Background(), spansNamed(names...)))
	var sizes []int
	for _, each := range server.calls {
		if each.of == kindSpans {
			sizes = append(sizes, len(each.rows))
		}
	}
	assert.Equal(t, []int{10, 1, 1000, 1000, 89}, sizes)
}
