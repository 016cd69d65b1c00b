package opikexporter

import (
	"context"
	"sync"
)

// turnstile lets one at a time through at each place.
type turnstile struct {
	mutex  sync.Mutex
	places map[place]chan struct{}
}

// enter waits until nobody else is there, or for the end of ctx.
func (t *turnstile) enter(ctx context.Context, where place) (leave func(), err error) {
	t.mutex.Lock()
	taken := t.places[where]
	if taken == nil {
		taken = make(chan struct{}, 1)
		t.places[where] = taken
	}
	t.mutex.Unlock()
	select {
	case taken <- struct{}{}:
		return func() { <-taken }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
