package hostcheck_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/server/hostcheck"
)

var (
	loopback = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8008}
	network  = &net.TCPAddr{IP: net.IPv4zero, Port: 8008}
)

func guard(t *testing.T, c hostcheck.Config) *hostcheck.Guard {
	t.Helper()
	g, err := hostcheck.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func request(method, host string, header map[string]string) *http.Request {
	r := httptest.NewRequest(method, "/", nil)
	r.Host = host
	for k, v := range header {
		r.Header.Set(k, v)
	}
	return r
}

func TestOnlyThisMachinesNamesPass(t *testing.T) {
	t.Parallel()
	local := guard(t, hostcheck.Config{Listener: loopback, Hosts: []string{"front.example.org", "192.168.0.9", "fd00::9"}})
	wide := guard(t, hostcheck.Config{Listener: network})
	for host, want := range map[string]struct{ local, wide bool }{
		"localhost":                {true, true},
		"localhost:8008":           {true, true},
		"localhost:1":              {true, true},
		"localhost:":               {true, true},
		"LocalHost:8008":           {true, true},
		"localhost.":               {true, true},
		"localhost.:8008":          {true, true},
		"127.0.0.1":                {true, true},
		"127.0.0.1:8008":           {true, true},
		"127.9.8.7:80":             {true, true},
		"[::1]":                    {true, true},
		"[::1]:8008":               {true, true},
		"[0:0:0:0:0:0:0:1]:8008":   {true, true},
		"[::ffff:127.0.0.1]:8008":  {true, true},
		"front.example.org":        {true, false},
		"FRONT.example.org.:443":   {true, false},
		"192.168.0.9:8008":         {true, true},
		"[fd00::9]":                {true, true},
		"192.168.0.10:8008":        {false, true},
		"[fd00::10]:8008":          {false, true},
		"0.0.0.0:8008":             {false, true},
		"[::]:8008":                {false, true},
		"":                         {false, false},
		":8008":                    {false, false},
		".":                        {false, false},
		"evil.example":             {false, false},
		"evil.example:8008":        {false, false},
		"localhost.evil.example":   {false, false},
		"evil.localhost":           {false, false},
		"localhost..":              {false, false},
		"xlocalhost":               {false, false},
		"a.front.example.org":      {false, false},
		"front.example.org.evil":   {false, false},
		"127.0.0.1.evil.example":   {false, false},
		"127.0.0.1.":               {false, false},
		"127.1":                    {false, false},
		"127.0.1:8008":             {false, false},
		"2130706433":               {false, false},
		"0x7f.1":                   {false, false},
		"0x7f000001:8008":          {false, false},
		"0177.0.0.1":               {false, false},
		"127.0.0.01":               {false, false},
		"127.000.000.001":          {false, false},
		"::1":                      {false, false},
		"::1:8008":                 {false, false},
		"[::1":                     {false, false},
		"[::1]8008":                {false, false},
		"[::1]:evil":               {false, false},
		"[::1%25lo]:8008":          {false, false},
		"[::1%lo]:8008":            {false, false},
		"[127.0.0.1]:8008":         {false, false},
		"[localhost]":              {false, false},
		"localhost:evil":           {false, false},
		"localhost:80:80":          {false, false},
		"localhost:-1":             {false, false},
		"user@localhost":           {false, false},
		"localhost@evil.example":   {false, false},
		"localhost/":               {false, false},
		"localhost evil.example":   {false, false},
		"localhost,evil.example":   {false, false},
		"ｌocalhost":                {false, false},
		"127.0.0.1\x00.evil":       {false, false},
		" localhost":               {false, false},
		"localhost\t":              {false, false},
		"ip6-localhost":            {false, false},
		"localhost.localdomain":    {false, false},
		"[::ffff:192.168.0.9]:80":  {true, true},
		"[::ffff:192.168.0.10]:80": {false, true},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions} {
			for name, c := range map[string]struct {
				guard *hostcheck.Guard
				want  bool
			}{"loopback": {local, want.local}, "network": {wide, want.wide}} {
				err := c.guard.Check(request(method, host, map[string]string{"X-Forwarded-Host": "localhost", "Forwarded": "host=localhost"}))
				if (err == nil) != c.want {
					t.Errorf("%s for %q on %s: %v, want to pass: %v", method, host, name, err, c.want)
				}
				if err != nil && host != "" && !strings.Contains(err.Error(), "allowed hosts") {
					t.Errorf("%q: %v does not say what to do", host, err)
				}
			}
		}
	}
	err := local.Check(request(http.MethodGet, "Other.example.org:8008", nil))
	if err == nil || !strings.HasSuffix(err.Error(), "add other.example.org to the allowed hosts of the server") || strings.Contains(err.Error(), "\n") {
		t.Errorf("the refusal is %v", err)
	}
	if err := local.Check(request(http.MethodGet, strings.Repeat("x", 60_000), nil)); err == nil || len(err.Error()) > 1000 {
		t.Errorf("the refusal of a long host has %d characters", len(err.Error()))
	}
}

func TestPagesOfOthersCannotPost(t *testing.T) {
	t.Parallel()
	const site, origin = "Sec-Fetch-Site", "Origin"
	for name, c := range map[string]struct {
		origins []string
		host    string
		header  map[string]string
		want    bool
	}{
		"curl":                       {nil, "localhost:8008", nil, true},
		"the page":                   {nil, "localhost:8008", map[string]string{site: "same-origin", origin: "http://localhost:8008"}, true},
		"the page, old browser":      {nil, "127.0.0.1:8008", map[string]string{origin: "http://127.0.0.1:8008"}, true},
		"address bar":                {nil, "localhost:8008", map[string]string{site: "none"}, true},
		"a stranger's form":          {nil, "localhost:8008", map[string]string{site: "cross-site", origin: "https://evil.example"}, false},
		"without an origin":          {nil, "localhost:8008", map[string]string{site: "cross-site"}, false},
		"from a file or a sandbox":   {nil, "localhost:8008", map[string]string{site: "cross-site", origin: "null"}, false},
		"old browser":                {nil, "localhost:8008", map[string]string{origin: "https://evil.example"}, false},
		"old browser, null":          {nil, "localhost:8008", map[string]string{origin: "null"}, false},
		"another port":               {nil, "localhost:8008", map[string]string{site: "same-site", origin: "http://localhost:3000"}, false},
		"nonsense":                   {nil, "localhost:8008", map[string]string{site: "whatever"}, false},
		"a page that is allowed":     {[]string{"https://app.example"}, "localhost:8008", map[string]string{site: "cross-site", origin: "https://app.example"}, true},
		"and not one that is not":    {[]string{"https://app.example"}, "localhost:8008", map[string]string{site: "cross-site", origin: "https://evil.example"}, false},
		"nor on another port":        {[]string{"https://app.example"}, "localhost:8008", map[string]string{site: "cross-site", origin: "https://app.example:1"}, false},
		"any page":                   {[]string{"*"}, "localhost:8008", map[string]string{site: "cross-site", origin: "https://evil.example"}, true},
		"any page, by rebinding":     {[]string{"*"}, "evil.example:8008", map[string]string{site: "same-origin", origin: "http://evil.example:8008"}, false},
		"rebinding":                  {nil, "evil.example", map[string]string{site: "same-origin", origin: "http://evil.example"}, false},
		"a proxy's name":             {nil, "front.example.org", map[string]string{site: "same-origin", origin: "https://front.example.org"}, true},
		"a proxy that changes Host":  {nil, "localhost:8008", map[string]string{origin: "http://front.example.org"}, true},
		"the same, to a new browser": {nil, "localhost:8008", map[string]string{site: "same-origin", origin: "https://front.example.org"}, true},
		"a proxy that hides others":  {nil, "localhost:8008", map[string]string{origin: "http://evil.example"}, false},
	} {
		g := guard(t, hostcheck.Config{Listener: loopback, Hosts: []string{"front.example.org"}, Origins: c.origins})
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
			err := g.Check(request(method, c.host, c.header))
			if (err == nil) != c.want {
				t.Errorf("%s by %s: %v, want to pass: %v", method, name, err, c.want)
			}
			if err != nil && !strings.Contains(err.Error(), "CORS origins") && !strings.Contains(err.Error(), "allowed hosts") {
				t.Errorf("%s: %v does not say what to do", name, err)
			}
		}
	}
	// Links from elsewhere, and what asks whether it may.
	g := guard(t, hostcheck.Config{Listener: loopback})
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions} {
		if err := g.Check(request(method, "localhost", map[string]string{site: "cross-site", origin: "https://app.example"})); err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestHostsThatAreNamed(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"front.example.org": "front.example.org", "Front.Example.org.": "front.example.org", "my_host-1": "my_host-1",
		"192.168.0.1": "192.168.0.1", "::1": "::1", "[fd00::1]": "fd00::1",
		"": "", "*": "", "*.example.org": "", ".": "", "a b": "", "https://example.org": "", "example.org:80": "", "example.org:": "",
		"[fd00::1]:80": "", "[x]": "", "ä.example": "", "a/b": "", "192.168.0.1:80": "", "fe80::1%lo": "",
	} {
		got, err := hostcheck.ParseHost(host)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q is read as %q, %v, want %q", host, got, err, want)
		}
	}
}

func TestWithoutAGuardAllPasses(t *testing.T) {
	t.Parallel()
	var none *hostcheck.Guard
	if err := none.Check(request(http.MethodPost, "evil.example", map[string]string{"Sec-Fetch-Site": "cross-site"})); err != nil {
		t.Error(err)
	}
}
