package transfer

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/testkit"
)

// TestMain checks that servers and fetchers leave no goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const maxMessage = 4 << 20

// noise is n bytes that look random and are the same for the same seed.
func noise(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b)
	return b
}

// makeBundle writes a bundle of two stages with files of about the given size, the
// second with external data; of a large one, only the first stage's file is large.
// Another seed gives other contents.
func makeBundle(t testing.TB, dir string, seed uint64, size int) *bundle.Bundle {
	t.Helper()
	w, err := bundle.Create(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	add := func(name string, data []byte) bundle.File {
		f, err := w.WriteFile(name, func(to io.Writer) error {
			_, err := io.Copy(to, bytes.NewReader(data))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	spec := func(name string) []tensor.Spec {
		return []tensor.Spec{{Name: name, DType: tensor.Float32, Dims: []tensor.Dim{tensor.Fixed(2)}}}
	}
	first := noise(seed, size)
	size = min(size, 4<<20)
	data := add("stage-1.data", noise(seed+1, size/2))
	m := &bundle.Manifest{
		Format: bundle.Format, Model: bundle.Model{Name: "m", SHA256: strings.Repeat("0", 64)},
		Inputs: spec("x"), Outputs: spec("y"),
		Stages: []bundle.Stage{
			{File: add("stage-0.onnx", first), Inputs: spec("x"), Outputs: spec("h")},
			{File: add("stage-1.onnx", noise(seed+2, size+1)), Data: &data, Inputs: spec("h"), Outputs: spec("y")},
		},
		Files: []bundle.File{add(bundle.TokenizerName, noise(seed+3, size/3)), add(bundle.ConfigName, nil)},
	}
	if err := w.WriteManifest(m); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newBundle(t testing.TB, seed uint64, size int) *bundle.Bundle {
	return makeBundle(t, filepath.Join(t.TempDir(), "stages"), seed, size)
}

// slice is what a stage needs.
func slice(rank int) func(*bundle.Manifest) ([]bundle.File, error) {
	return func(m *bundle.Manifest) ([]bundle.File, error) { return m.StageFiles(rank) }
}

// texts are what a front needs.
func texts(m *bundle.Manifest) ([]bundle.File, error) { return m.Files, nil }

func listen(t testing.TB, address string) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// serve serves until it is stopped, or the test ends.
func serve(t testing.TB, s *Server, l net.Listener) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l, nil) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// shared serves a bundle and returns the address.
func shared(t testing.TB, b *bundle.Bundle) string {
	l := listen(t, "localhost:0")
	serve(t, NewServer(b, maxMessage), l)
	return l.Addr().String()
}

func options(peers ...string) Options {
	return Options{Peers: peers, Patience: testkit.Patience, Log: slog.New(slog.DiscardHandler)}
}

// wantFiles checks that a folder holds exactly these files of a bundle and its
// manifest, and that nothing is beside it.
func wantFiles(t testing.TB, dir string, b *bundle.Bundle, names ...string) {
	t.Helper()
	names = append(names, bundle.ManifestName)
	for _, name := range names {
		want, errWant := os.ReadFile(filepath.Join(b.Dir, name))
		got, err := os.ReadFile(filepath.Join(dir, name))
		if errWant != nil || err != nil || !bytes.Equal(want, got) {
			t.Errorf("%s: %d bytes, want %d: %v, %v", name, len(got), len(want), err, errWant)
		}
	}
	if got := entries(t, dir); len(got) != len(names) {
		t.Errorf("the folder holds %v, want %v", got, names)
	}
	if got := entries(t, filepath.Dir(dir)); len(got) != 1 {
		t.Errorf("left beside the folder: %v", got)
	}
}

func entries(t testing.TB, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}
