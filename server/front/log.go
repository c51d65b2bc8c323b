package front

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/distinfer/distinfer/server/httpx"
)

// A recorder remembers what the log line of a request says.
type recorder struct {
	httpx.StatusWriter
	id    string // of the request
	texts int
	err   error
}

// Note is for httpx.Note.
func (r *recorder) Note(err error) { r.err = err }

// noteTexts has the log line of a request say how many texts it had.
func noteTexts(w http.ResponseWriter, texts int) {
	if rec, ok := httpx.Find[*recorder](w); ok {
		rec.texts = texts
	}
}

// log logs one line a request. Rejections are most frequent when there is least time: together
// they get one line a second, and lines of their own only at debug.
func (f *Front) log(r *http.Request, rec *recorder, started time.Time) {
	level := slog.LevelInfo
	switch {
	case rec.Status >= http.StatusInternalServerError:
		level = slog.LevelError
	case rec.Status == http.StatusTooManyRequests:
		f.rejections.add(rec.err)
		level = slog.LevelDebug
	case f.quiet[r.Pattern]:
		level = slog.LevelDebug
	}
	if !f.config.Log.Enabled(r.Context(), level) {
		return
	}
	attrs := append(make([]slog.Attr, 0, 7),
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", rec.Status),
		slog.Duration("took", time.Since(started).Round(time.Microsecond)), slog.String("request_id", rec.id))
	if rec.texts > 0 {
		attrs = append(attrs, slog.Int("texts", rec.texts))
	}
	if rec.err != nil {
		attrs = append(attrs, slog.String("error", rec.err.Error()))
	}
	f.config.Log.LogAttrs(r.Context(), level, "request", attrs...)
}

// rejectionsTime is how long rejections are counted before they are logged.
const rejectionsTime = time.Second

// rejections are requests that were rejected since the last line about them.
type rejections struct {
	log *slog.Logger

	mu    sync.Mutex
	count int
	last  error
}

func (r *rejections) add(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = err
	if r.count++; r.count == 1 {
		time.AfterFunc(rejectionsTime, r.write)
	}
}

// write logs what was counted.
func (r *rejections) write() {
	r.mu.Lock()
	count, last := r.count, r.last
	r.count, r.last = 0, nil
	r.mu.Unlock()
	attrs := []slog.Attr{slog.Int("count", count)}
	if last != nil {
		attrs = append(attrs, slog.String("last", last.Error()))
	}
	r.log.LogAttrs(context.Background(), slog.LevelInfo, "requests rejected", attrs...)
}
