package httpx

import "net/http"

// A StatusWriter remembers the status of a response.
type StatusWriter struct {
	http.ResponseWriter
	Status int
}

// WriteHeader implements http.ResponseWriter.
func (s *StatusWriter) WriteHeader(status int) {
	s.Status = status
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap gives http.ResponseController the writer below.
func (s *StatusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// Find finds the first writer that is a T: w, or one of those below it.
func Find[T any](w http.ResponseWriter) (found T, ok bool) {
	for {
		if found, ok = w.(T); ok {
			return found, true
		}
		under, wraps := w.(interface{ Unwrap() http.ResponseWriter })
		if !wraps {
			return found, false
		}
		w = under.Unwrap()
	}
}
