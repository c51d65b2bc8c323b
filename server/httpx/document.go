package httpx

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
)

// A Document is a response that is the same for every client. Clients keep it, and ask with
// If-None-Match whether it is still the same.
type Document struct {
	contentType, tag []string
	data             []byte
}

// NewDocument makes a Document of data, which must not change afterwards.
func NewDocument(contentType []string, data []byte) *Document {
	sum := sha256.Sum256(data)
	// A weak tag, since it is also that of the compressed response.
	return &Document{contentType, []string{`W/"` + hex.EncodeToString(sum[:8]) + `"`}, data}
}

// ServeHTTP implements http.Handler, for GET and HEAD.
func (d *Document) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	SetHeaders(h, d.contentType)
	h["Etag"], h["Cache-Control"] = d.tag, revalidate
	if matches(r.Header["If-None-Match"], d.tag[0]) {
		delete(h, "Content-Type")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h["Content-Length"] = []string{strconv.Itoa(len(d.data))}
	_, _ = w.Write(d.data) // the client may have left
}

// matches reports whether headers If-None-Match name a tag (RFC 9110, section 13.1.2).
func matches(headers []string, tag string) bool {
	for _, header := range headers {
		for one := range strings.SplitSeq(header, ",") {
			if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == strings.TrimPrefix(tag, "W/") {
				return true
			}
		}
	}
	return false
}
