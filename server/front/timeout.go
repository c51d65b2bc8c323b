package front

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/distinfer/distinfer/runtime/errcode"
)

// TimeAllowed is how long a request may take: Config.Timeout, or less when its client waits less,
// which it says with `Prefer: wait=SECONDS` (RFC 7240, section 4.3).
func (f *Front) TimeAllowed(w http.ResponseWriter, r *http.Request) (time.Duration, error) {
	value, given := preferredWait(r.Header["Prefer"])
	if !given {
		return f.config.Timeout, nil
	}
	seconds, err := strconv.ParseUint(value, 10, 31)
	if errors.Is(err, strconv.ErrRange) {
		return f.config.Timeout, nil
	}
	if err != nil || seconds == 0 {
		return 0, errcode.Errorf(errcode.Invalid, "the header Prefer has wait=%s; it takes seconds from 1 on, without a fraction", value)
	}
	if wait := time.Duration(seconds) * time.Second; wait < f.config.Timeout {
		w.Header().Set("Preference-Applied", "wait="+value)
		return wait, nil
	}
	return f.config.Timeout, nil
}

// preferredWait finds the first preference named wait.
func preferredWait(headers []string) (value string, given bool) {
	for _, header := range headers {
		for preference := range strings.SplitSeq(header, ",") {
			preference, _, _ = strings.Cut(preference, ";")
			name, value, _ := strings.Cut(preference, "=")
			if strings.EqualFold(strings.TrimSpace(name), "wait") {
				return strings.Trim(strings.TrimSpace(value), `"`), true
			}
		}
	}
	return "", false
}
