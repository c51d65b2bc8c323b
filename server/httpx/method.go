package httpx

import (
	"net/http"
	"strings"
)

// Get answers GET and HEAD with a handler, OPTIONS with the methods there are, and all other
// methods with 405.
func Get(h http.HandlerFunc) http.HandlerFunc {
	return Methods(map[string]http.HandlerFunc{http.MethodGet: h})
}

// Post is Get for the method POST.
func Post(h http.HandlerFunc) http.HandlerFunc {
	return Methods(map[string]http.HandlerFunc{http.MethodPost: h})
}

// Methods chooses a handler by the request's method: GET, which answers HEAD too, or POST.
func Methods(byMethod map[string]http.HandlerFunc) http.HandlerFunc {
	get, post := byMethod[http.MethodGet], byMethod[http.MethodPost]
	var allowed []string
	if get != nil {
		allowed = append(allowed, http.MethodGet, http.MethodHead)
	}
	if post != nil {
		allowed = append(allowed, http.MethodPost)
	}
	allow := strings.Join(append(allowed, http.MethodOptions), ", ")
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case get != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead):
			get(w, r)
		case post != nil && r.Method == http.MethodPost:
			post(w, r)
		case r.Method == http.MethodOptions:
			w.Header().Set("Allow", allow)
			w.WriteHeader(http.StatusNoContent)
		default:
			w.Header().Set("Allow", allow)
			Fail(w, Errorf(http.StatusMethodNotAllowed, "%.40s is not possible at %.200s; use %s", r.Method, r.URL.Path, allow))
		}
	}
}

// NotFound answers with 404 and a hint at what there is.
func NotFound(w http.ResponseWriter, r *http.Request, hint string) {
	Fail(w, Errorf(http.StatusNotFound, "there is nothing at %.200s; %s", r.URL.Path, hint))
}
