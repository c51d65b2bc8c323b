// Package page is the web page of a front: it answers texts and shows the pipeline at work. The
// package also serves the live data that the page draws.
//
// The page is plain HTML, CSS and ES modules in one folder, without a build step. It loads nothing
// from elsewhere and holds no data: that comes from the front's other routes. The package must not
// know what a front or a stage is.
package page

import (
	"embed"
	"net/http"
	"path"

	"github.com/distinfer/distinfer/server/httpx"
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

var types = map[string][]string{
	".html": {"text/html; charset=utf-8"},
	".css":  {"text/css; charset=utf-8"},
	".js":   {"text/javascript; charset=utf-8"},
	".svg":  {"image/svg+xml"},
}

// Handler serves the page at / and its files under Prefix. Browsers keep the files and ask each
// time whether they are still the same, so that a page never mixes those of two versions.
func Handler() http.Handler {
	files, err := embedded.ReadDir("assets")
	if err != nil {
		panic(err) // it is part of the program
	}
	byPath := map[string]http.HandlerFunc{}
	for _, f := range files {
		data, err := embedded.ReadFile("assets/" + f.Name())
		if err != nil {
			panic(err)
		}
		byPath[Prefix+f.Name()] = httpx.Get(withPolicy(httpx.NewDocument(types[path.Ext(f.Name())], data)))
	}
	byPath["/"] = byPath[Prefix+"index.html"]
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if file := byPath[r.URL.Path]; file != nil {
			file(w, r)
			return
		}
		httpx.NotFound(w, r, "the page is at /")
	})
}

// withPolicy sets the headers of the page's files.
func withPolicy(file http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Add("Vary", "Accept")
		file.ServeHTTP(w, r)
	}
}
