package queueguard

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"
)

// A queue writes also when it gets smaller: what it is about to send, and what it has sent and deletes. On a disk that
// is full to its last page neither can be written. The queue then forgets, with a line in the debug log, an item that it
// had acknowledged, or keeps what was sent and refuses everything until it is restarted, however empty the backend's
// side is. So what makes the queue larger is refused a little before the disk is full, and the rest always has room.

const (
	smallestShare  = 16 // of a small disk no more than this part is kept free
	besideTheBooks = 2  // items may be on the page of the queue's books, one on each side

	fileStorage = "file_storage" // the type of the extension that has its files in a directory
)

var _ storage.Extension = (*guard)(nil)

// GetClient is the guarded storage's own client for that component, with the disk looked at before anything is added.
func (g *guard) GetClient(ctx context.Context, kind component.Kind, id component.ID, name string) (storage.Client, error) {
	if g.cfg.Storage == nil {
		return nil, errors.New("queue_guard cannot store anything: set its `storage` to the storage extension that does, for example file_storage")
	}
	found, there := g.host.GetExtensions()[*g.cfg.Storage]
	if !there {
		return nil, fmt.Errorf("there is no extension %q; name it under `service: extensions:`, or correct `storage` of queue_guard", g.cfg.Storage)
	}
	guarded, stores := found.(storage.Extension)
	if !stores {
		return nil, fmt.Errorf("the extension %q stores nothing; name a storage extension under `storage` of queue_guard", g.cfg.Storage)
	}
	client, err := guarded.GetClient(ctx, kind, id, name)
	if err != nil {
		return nil, err
	}
	if g.cfg.Storage.Type().String() == fileStorage && !g.holdsFiles() {
		return nil, errors.Join(fmt.Errorf("directory of queue_guard, %s, holds no queue although %s has just opened one: write the same directory for both",
			g.cfg.Directory, g.cfg.Storage), client.Close(ctx))
	}
	made := &roomyClient{Client: client, guard: g, sizes: map[string]uint64{}}
	made.countWaiting(ctx)
	if err := made.resume(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("the queue of %s cannot be read: %w", id, err), client.Close(ctx))
	}
	g.clients.add(made)
	return made, nil
}

// Close takes the client from those that share the disk. What is still owed then is sent again after the next start.
func (c *roomyClient) Close(ctx context.Context) error {
	c.guard.clients.remove(c)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.settle(ctx); err != nil {
		c.guard.logger.Warn("There is no room to note all that the queue has sent; some of it is sent again after the next start.",
			zap.Int("items", len(c.owed.sent)), zap.Error(err))
	}
	return c.Client.Close(ctx)
}

// roomyClient refuses to add where that would leave less than the reserve, on the disk and in the file: what was deleted
// leaves room inside the file, which does not shrink.
type roomyClient struct {
	storage.Client
	guard *guard

	mu    sync.Mutex // of one change after the other, as the queue makes them
	owed  owed
	sizes map[string]uint64 // of the items that were read and are still there: those being sent
	spare uint64            // bytes of items deleted, and not yet filled again
	files uint64            // bytes of the files when something was last added

	waiting atomic.Int64  // bytes of the items that are there
	largest atomic.Uint64 // bytes of the largest item that ever was
}

// Set is a batch of one.
func (c *roomyClient) Set(ctx context.Context, key string, value []byte) error {
	return c.Batch(ctx, storage.SetOperation(key, value))
}

// Delete is a batch of one.
func (c *roomyClient) Delete(ctx context.Context, key string) error {
	return c.Batch(ctx, storage.DeleteOperation(key))
}

// Get is a batch of one.
func (c *roomyClient) Get(ctx context.Context, key string) ([]byte, error) {
	get := storage.GetOperation(key)
	err := c.Batch(ctx, get)
	return get.Value, err
}

// Batch refuses to add what there is no room for, and takes all else.
func (c *roomyClient) Batch(ctx context.Context, ops ...*storage.Operation) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	change := c.write
	if added(ops) > 0 {
		change = c.put
	}
	if err := change(ctx, ops); err != nil {
		return err
	}
	c.note(ops)
	return nil
}

// put adds items. Pages that what is owed will leave can only be used after it is written.
func (c *roomyClient) put(ctx context.Context, ops []*storage.Operation) error {
	if size := added(ops); c.guard.cfg.MinFreeBytes > 0 {
		c.seeItem(size)
		if err := c.guard.hasRoomFor(ctx, size, c.spareNow(), c); err != nil {
			return err
		}
	}
	err := c.settle(ctx)
	if err == nil {
		err = c.Client.Batch(ctx, ops...)
	}
	if isFull(err) {
		c.guard.refused.Add(ctx, 1)
	}
	return err
}

// spareNow is the room inside the file. A file that has become smaller was compacted, and has none any more: it is the disk's.
func (c *roomyClient) spareNow() uint64 {
	files := c.guard.fileBytes()
	if files < c.files {
		c.spare = 0
	}
	c.files = files
	return c.spare
}

// note what a batch has read, deleted and added.
func (c *roomyClient) note(ops []*storage.Operation) {
	for _, op := range ops {
		if !isNumber(op.Key) {
			continue
		}
		switch op.Type {
		case storage.Get:
			if op.Value != nil {
				c.sizes[op.Key] = uint64(len(op.Value))
			}
		case storage.Delete:
			c.spare += c.sizes[op.Key]
			c.waiting.Add(-int64(c.sizes[op.Key])) //nolint:gosec // far below 2^63
			delete(c.sizes, op.Key)
		case storage.Set:
			c.spare -= min(c.spare, uint64(len(op.Value)))
			c.waiting.Add(int64(len(op.Value)))
		}
	}
}

// Walk as the guarded client does it, if it does.
func (c *roomyClient) Walk(ctx context.Context, fn storage.WalkFunc) error {
	walker, walks := c.Client.(storage.Walker)
	if !walks {
		return fmt.Errorf("%T cannot be walked through", c.Client)
	}
	return walker.Walk(ctx, fn)
}

// added is the size of the items that a batch puts into a queue, in bytes. Items have numbers for keys; under names a
// queue keeps its own books, which it must be able to write always.
func added(ops []*storage.Operation) uint64 {
	var size uint64
	for _, op := range ops {
		if op.Type == storage.Set && isNumber(op.Key) {
			size += uint64(len(op.Value))
		}
	}
	return size
}

func isNumber(key string) bool {
	_, err := strconv.ParseUint(key, 10, 64)
	return err == nil
}

// holdsFiles says whether there is any queue file. There may be thousands, so it is asked until there is one.
func (g *guard) holdsFiles() bool {
	if !g.hasFile.Load() {
		files, err := g.queueFiles()
		g.hasFile.Store(err != nil || len(files) > 0) // what cannot be read is said at the start
	}
	return g.hasFile.Load()
}

// hasRoomFor says whether so much may be added. A queue that holds most of what waits must leave twice the reserve, so that one whose
// backend takes nothing leaves room for those whose backends do.
//
// And where items are large, the reserve is as well: bbolt writes a page anew with all that is on it, so the queue's books with an item beside them.
func (g *guard) hasRoomFor(ctx context.Context, size, spare uint64, of *roomyClient) error {
	free, whole, known := g.disk(g.cfg.Directory)
	inside := min(g.cfg.MinFreeBytes, whole/smallestShare)
	reserve := max(inside, besideTheBooks*of.largest.Load())
	if g.clients.hasMost(of) {
		reserve *= 2
	}
	if !known || free >= reserve+size || spare >= inside+size {
		return nil
	}
	g.refused.Add(ctx, 1)
	return fmt.Errorf("the disk of %s is almost full (%d bytes free, of which %d are kept for emptying the queue); "+
		"make room on it, or have the backend take spans again: %w", g.cfg.Directory, free, reserve, syscall.ENOSPC)
}
