package batch

import "time"

// SetMaxWait changes the longest wait of a Batcher that waits for nothing.
func (b *Batcher) SetMaxWait(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.maxWait = d
}
