package opikexporter

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/zap"

	"github.com/otel-llm/otel-llm/collector/opikexporter/internal/opikrows"
)

// opikExporter turns batches into rows, rows into requests, and answers into errors that exporterhelper understands.
type opikExporter struct {
	cfg       *Config
	set       exporter.Settings
	routing   opikrows.Routing
	memory    *opikrows.Memory
	journal   *journal
	telemetry *telemetry
	client    *client
	taken     *tally
}

func newOpikExporter(cfg *Config, set exporter.Settings) (*opikExporter, error) {
	own, err := newTelemetry(set.TelemetrySettings, set.ID)
	if err != nil {
		return nil, fmt.Errorf("cannot create the exporter's metrics: %w", err)
	}
	return &opikExporter{
		cfg:       cfg,
		set:       set,
		routing:   cfg.routing(),
		memory:    opikrows.NewMemory(),
		journal:   newJournal(len(cfg.workspaces())),
		taken:     &tally{counts: map[place]int64{}},
		telemetry: own,
	}, nil
}

func (e *opikExporter) start(ctx context.Context, host component.Host) (err error) {
	e.client, err = newClient(ctx, e.cfg, host, e.set.TelemetrySettings, e.set.BuildInfo)
	return err
}

func (e *opikExporter) shutdown(context.Context) error {
	if e.client != nil {
		e.client.close()
	}
	return nil
}

// push sends a batch, traces before spans. Sending it again is safe: every row replaces itself.
//
// The error is permanent only if Opik refused all of the batch's spans. Refused spans among others are counted and
// logged, and the rest is delivered; anything else is worth a retry.
func (e *opikExporter) push(ctx context.Context, batch ptrace.Traces) error {
	rows := opikrows.Map(batch, e.routing, e.memory)
	key := keyOf(rows)
	reached := e.journal.open(key)
	for _, workspace := range workspacesOf(rows.Spans) {
		err := e.deliver(ctx, kindTraces, workspace, rows.Traces, reached)
		if err == nil || reached.isSuspect(err) { // spans need not wait for a single row of a trace
			err = errors.Join(err, e.deliver(ctx, kindSpans, workspace, rows.Spans, reached))
		}
		if err != nil {
			e.journal.keep(key, reached)
			return err
		}
	}
	return e.conclude(ctx, len(rows.Spans), reached.rejections)
}

// conclude counts and logs the refused spans of a batch that is finished.
func (e *opikExporter) conclude(ctx context.Context, spans int, rejections []rejection) error {
	for _, each := range rejections {
		e.telemetry.countRejected(ctx, each.reason, 1)
	}
	if len(rejections) == 0 {
		return nil
	}
	first := rejections[0]
	//lint:ignore ST1005 Opik is a name
	err := fmt.Errorf("Opik refused %d of %d spans; the first is %s (%s): %s",
		len(rejections), spans, first.spanID, first.reason, first.words)
	if len(rejections) == spans {
		return consumererror.NewPermanent(err)
	}
	e.set.Logger.Warn("Spans were refused for good; the rest of their batch was delivered.", zap.Error(err))
	return nil
}

func workspacesOf(rows []opikrows.Row) []string {
	var names []string
	known := map[string]bool{}
	for _, row := range rows {
		if !known[row.Workspace] {
			known[row.Workspace] = true
			names = append(names, row.Workspace)
		}
	}
	return names
}

// deliver sends rows of one kind. Refused requests are divided until each bad row stands alone, and so are those that Opik
// fails on time and again while it takes others; a row that it fails on alone waits, and is refused in the end.
func (e *opikExporter) deliver(ctx context.Context, of kind, workspace string, rows []opikrows.Row, reached *progress) (err error) {
	waiting, where := pack(of, reached.left(of, rows, workspace)), place{of, workspace}
	defer func() { reached.end(where, err, e.taken.of(where)) }()
	var alone []error // of rows that Opik fails on, and which wait
	split := false
	for len(waiting) > 0 && len(alone) < maxAlone {
		next := waiting[0]
		waiting = waiting[1:]
		err := e.post(ctx, of, workspace, next.body)
		var words *refused
		isRefused, isSuspect := errors.As(err, &words), reached.isSuspect(err)
		if isSuspect && len(next.rows) == 1 && reached.doubts >= giveUpAfter {
			words, isRefused = &refused{reasonServerError, err.Error(), -1}, true
		}
		switch {
		case err == nil:
			reached.finish(of, next.rows)
			reached.prove(of, next.rows)
			reached.divided = reached.divided || split
		case isRefused && len(next.rows) > 1:
			waiting = append(parted(of, next, words.badIndex), waiting...)
		case isRefused:
			if err := e.reject(ctx, of, workspace, next.rows, words, reached); err != nil {
				return err
			}
		case isSuspect && len(next.rows) > 1:
			split = true
			waiting = append(parted(of, next, -1), waiting...)
		case isSuspect:
			alone = append(alone, err)
		default:
			return err
		}
	}
	if proof := reached.proof[where]; proof != nil && len(alone) > 0 {
		_ = e.post(ctx, of, workspace, proof) // once more, to see whether it takes others: the row replaces itself
	}
	return errors.Join(alone...)
}

func (e *opikExporter) post(ctx context.Context, of kind, workspace string, body []byte) error {
	err := e.client.post(ctx, of, workspace, body)
	if err == nil {
		e.taken.add(place{of, workspace})
	}
	e.telemetry.countRequest(ctx, of, err)
	return err
}

// reject deals with a single row that will never be taken. A trace still gets a row with nothing but name and times, so
// that it is listed; if that is refused too, so will its spans be, and those are counted.
func (e *opikExporter) reject(ctx context.Context, of kind, workspace string, alone []opikrows.Row, words *refused, reached *progress) error {
	row := alone[0]
	if of == kindSpans {
		reached.rejections = append(reached.rejections, rejection{row.SpanID, words.reason, words.words})
	} else {
		e.set.Logger.Warn("Opik refused the row of a trace; a bare one is sent.", zap.String("trace", row.ID), zap.Error(words))
		bare := pack(of, []opikrows.Row{row.Bare()})[0]
		var again *refused
		if err := e.post(ctx, of, workspace, bare.body); err != nil && !errors.As(err, &again) && !reached.isSuspect(err) {
			return err
		}
	}
	reached.finish(of, alone)
	return nil
}
