// Package page is what a person sees of the front in a browser: a page that labels
// texts and shows the pipeline at work, and the live data it is drawn from.
//
// It knows HTTP and what it is told; not what a front, a batch or a stage is. The page
// is plain HTML, CSS and ES modules in one folder, without a build step, and nothing of
// it is loaded from elsewhere. It holds no data: that comes by the front's own routes.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"time"
)

// Prefix is where the page's files are, beside the page itself at /.
const Prefix = "/page/"

//go:embed assets
var embedded embed.FS

// Description is the part of an OpenAPI document for what the package answers.
//
//go:embed openapi.json
var Description []byte

// policy lets the page load nothing but its own files, and nobody frame it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// An asset is a file of the page.
type asset struct {
	data []byte
	tag  string
}

type handler map[string]asset // by URL path

// Handler serves the page at / and its files under Prefix.
func Handler() http.Handler {
	files, err := embedded.ReadDir("assets")
	if err != nil {
		panic(err) // it is part of the program
	}
	h := handler{}
	for _, f := range files {
		data, err := embedded.ReadFile("assets/" + f.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(data)
		// Weak, since it is the same for what is compressed on its way.
		h[Prefix+f.Name()] = asset{data, `W/"` + hex.EncodeToString(sum[:8]) + `"`}
	}
	h["/"] = h[Prefix+"index.html"]
	return h
}

// ServeHTTP implements http.Handler. Browsers keep the files and ask each time whether
// they are still the same, so that a page never mixes those of two versions.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, ok := h[r.URL.Path]
	if !ok {
		refuse(w, http.StatusNotFound, fmt.Sprintf("there is nothing at %s", r.URL.Path))
		return
	}
	if !onlyGet(w, r) {
		return
	}
	name := path.Base(r.URL.Path)
	if r.URL.Path == "/" {
		name = "index.html"
	}
	header := w.Header()
	header.Set("Content-Type", types[path.Ext(name)])
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Cache-Control", "no-cache")
	header.Add("Vary", "Accept")
	header.Set("ETag", a.tag)
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(a.data))
}

// onlyGet refuses other methods.
func onlyGet(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	refuse(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s is not possible at %s; use GET, HEAD", r.Method, r.URL.Path))
	return false
}
