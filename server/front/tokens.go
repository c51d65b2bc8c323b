package front

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/distinfer/distinfer/server/httpx"
	"github.com/distinfer/distinfer/server/reload"
)

const (
	// MinToken is the least length of a token: a shorter one can be guessed.
	MinToken = 16

	maxTokens = 64 << 10 // bytes of a file of tokens
)

// Tokens are the bearer tokens that are accepted. Only their hashes are kept.
type Tokens struct {
	hashes *reload.Value[[][sha256.Size]byte]
}

// LoadTokens reads a file with one token a line. Blank lines and lines that begin with # are
// skipped. The file is read again when it changes: a token that was removed is rejected after a
// second at the latest.
func LoadTokens(path string, log *slog.Logger) (*Tokens, error) {
	hashes, err := reload.Open(log, maxTokens, func(files [][]byte) ([][sha256.Size]byte, error) {
		if reload.Exposed(path) {
			log.Warn("every user of this machine can read the tokens; take the permission away", "file", path, "with", "chmod 600")
		}
		list, err := parseTokens(files[0])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if len(list) == 0 {
			// Whoever removed the last token wants it rejected.
			log.Warn("there is no token left, so every request is rejected", "file", path)
		}
		return list, nil
	}, path)
	if err != nil {
		return nil, err
	}
	if len(hashes.Get()) == 0 {
		return nil, fmt.Errorf("%s holds no token; write one a line, of %d characters or more", path, MinToken)
	}
	return &Tokens{hashes}, nil
}

// parseTokens hashes the tokens of a file. Its errors do not repeat its content.
func parseTokens(data []byte) ([][sha256.Size]byte, error) {
	var list [][sha256.Size]byte
	for i, line := range bytes.Split(data, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if len(line) < MinToken {
			return nil, fmt.Errorf("line %d: the token has %d characters; the least is %d, such as `openssl rand -hex 32` makes", i+1, len(line), MinToken)
		}
		if !httpx.IsToken(string(line)) {
			return nil, fmt.Errorf("line %d: a token can have ASCII letters, digits and -._~+/= only", i+1)
		}
		list = append(list, sha256.Sum256(line))
	}
	return list, nil
}

// Allow reports whether a request bears one of the tokens, in exactly one header Authorization.
func (t *Tokens) Allow(headers []string) bool {
	token, ok := bearer(headers)
	if !ok {
		return false
	}
	sum := sha256.Sum256([]byte(token))
	// Comparing all hashes keeps the time from showing how much of a token was right.
	found := 0
	for _, h := range t.hashes.Get() {
		found |= subtle.ConstantTimeCompare(sum[:], h[:])
	}
	return found == 1
}

// unauthorized answers a request without a token.
func unauthorized(w http.ResponseWriter, r *http.Request) {
	challenge, why := `Bearer realm="distinfer"`, "a token is needed; send it as the header Authorization: Bearer TOKEN"
	if r.Header.Get("Authorization") != "" {
		challenge += `, error="invalid_token"`
		why = "the token is not accepted; send another as the header Authorization: Bearer TOKEN"
	}
	w.Header().Set("WWW-Authenticate", challenge)
	fail(w, r, httpx.Errorf(http.StatusUnauthorized, "%s", why))
}
