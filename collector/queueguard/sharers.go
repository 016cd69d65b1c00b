package queueguard

import (
	"context"
	"sync"

	"go.opentelemetry.io/collector/extension/xextension/storage"
)

// sharers are the queues on the disk.
type sharers struct {
	mutex   sync.Mutex
	clients map[*roomyClient]bool
}

func (s *sharers) add(client *roomyClient) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.clients == nil {
		s.clients = map[*roomyClient]bool{}
	}
	s.clients[client] = true
}

func (s *sharers) remove(client *roomyClient) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	delete(s.clients, client)
}

// hasMost says whether more waits in this queue than in the average one.
func (s *sharers) hasMost(client *roomyClient) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var all int64
	for each := range s.clients {
		all += max(0, each.waiting.Load())
	}
	return client.waiting.Load()*int64(len(s.clients)) > all
}

// countWaiting begins with what an earlier Collector has left. Where that cannot be told it begins with nothing.
func (c *roomyClient) countWaiting(ctx context.Context) {
	_ = c.Walk(ctx, func(key string, value []byte) ([]*storage.Operation, error) {
		if isNumber(key) {
			c.waiting.Add(int64(len(value)))
			c.seeItem(uint64(len(value)))
		}
		return nil, nil
	})
}

// seeItem notes how large items are.
func (c *roomyClient) seeItem(size uint64) {
	for known := c.largest.Load(); size > known && !c.largest.CompareAndSwap(known, size); {
		known = c.largest.Load()
	}
}
