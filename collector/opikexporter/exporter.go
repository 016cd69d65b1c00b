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
	scoring   *turnstile
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
		scoring:   &turnstile{places: map[place]chan struct{}{}},
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

// push sends a batch, traces before spans, and both before scores. Sending it again is safe: every row replaces itself.
//
// The error is permanent only if Opik refused all of the batch's spans. Refused spans among others are counted and
// logged, and the rest is delivered; anything else is worth a retry.
func (e *opikExporter) push(ctx context.Context, batch ptrace.Traces) error {
	rows := opikrows.Map(batch, e.routing, e.memory)
	all, key := sorted(rows), keyOf(rows)
	reached := e.journal.open(key)
	for _, workspace := range workspacesOf(all) {
		if err := e.deliverAll(ctx, workspace, all, reached); err != nil {
			e.journal.keep(key, reached)
			return err
		}
	}
	rejections := reached.rejections
	for _, each := range rows.Rejections {
		rejections = append(rejections, rejection{each.SpanID, reasonInvalid, each.Words})
	}
	return e.conclude(ctx, batch.SpanCount(), rejections)
}

// deliverAll sends what goes to one workspace.
func (e *opikExporter) deliverAll(ctx context.Context, workspace string, all []sortedRows, reached *progress) (err error) {
	for _, each := range all {
		if err != nil && !reached.isSuspect(err) { // what follows need not wait for a single row that Opik fails on
			return err
		}
		deliver := e.deliver
		if each.of.isScores() {
			deliver = e.deliverScores
		}
		err = errors.Join(err, deliver(ctx, each.of, workspace, each.rows, reached))
	}
	return err
}

// deliverScores sends those that no later one has replaced, one request after the other: the last one to arrive counts.
func (e *opikExporter) deliverScores(ctx context.Context, of kind, workspace string, rows []opikrows.Row, reached *progress) error {
	rows = reached.left(of, rows, workspace)
	if len(rows) == 0 {
		return nil
	}
	leave, err := e.scoring.enter(ctx, place{of, workspace})
	if err != nil {
		return err
	}
	defer leave()
	return e.deliver(ctx, of, workspace, e.memory.Newest(rows), reached)
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

func workspacesOf(all []sortedRows) []string {
	var names []string
	known := map[string]bool{}
	for _, each := range all {
		for _, row := range each.rows {
			if !known[row.Workspace] {
				known[row.Workspace] = true
				names = append(names, row.Workspace)
			}
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
	if of != kindTraces {
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
