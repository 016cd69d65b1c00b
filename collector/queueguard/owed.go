package queueguard

import (
	"context"
	"errors"
	"maps"
	"slices"
	"syscall"

	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"
)

// bbolt writes a page anew with all that is on it, of which up to five may be items, and takes the first run of free pages that is
// long enough, in no order. So a file with room in it may have no run that is, on a disk (or at a max_size) that lets it have no more, and
// what the queue then cannot write is not that it got an item but that it reads or has sent one: it forgets the item, or keeps it for ever.
//
// Such changes are owed: kept here until a later one, for which there is room, has them written with it. The more was sent, the less has to be
// written anew: of an empty queue a page. If the Collector is killed before that it sends some items again, which replace themselves.

// owed changes of a queue: its books, by their key, and the keys of items that were sent.
type owed struct {
	books map[string][]byte
	sent  map[string]bool
}

func (o *owed) isEmpty() bool { return len(o.books)+len(o.sent) == 0 }

// add changes that were not written.
func (o *owed) add(ops []*storage.Operation) {
	if o.books == nil {
		o.books, o.sent = map[string][]byte{}, map[string]bool{}
	}
	for _, op := range ops {
		switch op.Type {
		case storage.Set:
			o.books[op.Key] = slices.Clone(op.Value)
			delete(o.sent, op.Key)
		case storage.Delete:
			delete(o.books, op.Key)
			o.sent[op.Key] = true
		}
	}
}

// operations to write all of it.
func (o *owed) operations() (ops []*storage.Operation) {
	for _, key := range slices.Sorted(maps.Keys(o.sent)) {
		ops = append(ops, storage.DeleteOperation(key))
	}
	for _, key := range slices.Sorted(maps.Keys(o.books)) {
		ops = append(ops, storage.SetOperation(key, o.books[key]))
	}
	return ops
}

// read what is there, with what is owed as if it were written.
func (o *owed) read(ctx context.Context, from storage.Client, ops []*storage.Operation) error {
	gets := slices.DeleteFunc(slices.Clone(ops), func(op *storage.Operation) bool { return op.Type != storage.Get })
	if len(gets) == 0 {
		return nil
	}
	err := from.Batch(ctx, gets...)
	for _, get := range gets {
		if text, there := o.books[get.Key]; there {
			get.Value = slices.Clone(text)
		} else if o.sent[get.Key] {
			get.Value = nil
		}
	}
	return err
}

// isFull says whether an error means that there is no room.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, storage.ErrStorageFull)
}

// write changes that do not make the queue larger, with all that is owed; without room for them they are owed too.
func (c *roomyClient) write(ctx context.Context, ops []*storage.Operation) error {
	err := c.Client.Batch(ctx, append(c.owed.operations(), ops...)...)
	if !isFull(err) {
		c.settled(err)
		return err
	}
	if c.owed.isEmpty() {
		c.guard.logger.Warn("There is no room to note what the queue has sent. It goes on, and notes it as soon as there is; "+
			"if the Collector is killed before, some of it is sent again.", zap.Error(err))
	}
	c.owed.add(ops)
	return c.owed.read(ctx, c.Client, ops)
}

// settle has what is owed written.
func (c *roomyClient) settle(ctx context.Context) error {
	if c.owed.isEmpty() {
		return nil
	}
	err := c.Client.Batch(ctx, c.owed.operations()...)
	c.settled(err)
	return err
}

func (c *roomyClient) settled(err error) {
	if err == nil && !c.owed.isEmpty() {
		c.owed = owed{}
		c.guard.logger.Info("What the queue has sent is noted again.")
	}
}
