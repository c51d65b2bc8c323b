package transfer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/limiter"
	"github.com/distinfer/distinfer/server/transfer/transferpb"
	"github.com/distinfer/distinfer/server/transfer/transfertest"
)

func TestASliceIsFetchedAndOthersAreAdded(t *testing.T) {
	t.Parallel()
	made := newBundle(t, 1, 3<<20)
	w := transfertest.NewWire(t, shared(t, made), nil)
	dir := filepath.Join(t.TempDir(), "deep", "stages")
	b, err := Fetch(testkit.Context(t), dir, slice(1), options(w.Address))
	if err != nil || b.ID != made.ID {
		t.Fatal(err)
	}
	wantFiles(t, dir, made, "stage-1.onnx", "stage-1.data")
	if _, err := b.StagePath(1); err != nil {
		t.Error(err)
	}
	if n := w.Bytes(); n < 4<<20 || n > 5<<20 {
		t.Errorf("%d bytes for a slice of 4.5 MB", n)
	}

	before := w.Bytes()
	if _, err := Fetch(testkit.Context(t), dir, slice(1), options(w.Address)); err != nil {
		t.Fatal(err)
	}
	if n := w.Bytes() - before; n > 10_000 {
		t.Errorf("%d bytes for what is there already", n)
	}
	for _, want := range []func(*bundle.Manifest) ([]bundle.File, error){texts, slice(0)} {
		if _, err := Fetch(testkit.Context(t), dir, want, options(w.Address)); err != nil {
			t.Fatal(err)
		}
	}
	wantFiles(t, dir, made, "stage-0.onnx", "stage-1.onnx", "stage-1.data", bundle.TokenizerName, bundle.ConfigName)
	if extra, err := b.Check(); err != nil || len(extra) > 0 {
		t.Errorf("%v, %v", extra, err)
	}

	// A file that was damaged is missing.
	if err := os.WriteFile(filepath.Join(dir, "stage-1.onnx"), noise(9, 3<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Fetch(testkit.Context(t), dir, slice(1), options(w.Address)); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, dir, made, "stage-0.onnx", "stage-1.onnx", "stage-1.data", bundle.TokenizerName, bundle.ConfigName)

	if _, err := Fetch(testkit.Context(t), dir, slice(2), options(w.Address)); err == nil || !strings.Contains(err.Error(), "no rank 2") {
		t.Errorf("a rank there is not: %v", err)
	}
}

func TestAnotherBundleIsReplacedAndAnythingElseLeftAlone(t *testing.T) {
	t.Parallel()
	older, newer := newBundle(t, 1, 1<<20), newBundle(t, 7, 1<<20)
	dir := filepath.Join(t.TempDir(), "stages")
	makeBundle(t, dir, 1, 1<<20)
	// A whole bundle may be the only copy of it, and newer than the peer's.
	if _, err := Fetch(testkit.Context(t), dir, slice(0), options(shared(t, newer))); err == nil || !strings.Contains(err.Error(), "holds a whole bundle ("+older.ID.Short()) || !strings.Contains(err.Error(), "name the one to use") {
		t.Errorf("a whole bundle: %v", err)
	}
	wantFiles(t, dir, older, "config.json", "stage-0.onnx", "stage-1.data", "stage-1.onnx", "tokenizer.json")
	if err := os.Remove(filepath.Join(dir, "stage-1.onnx")); err != nil {
		t.Fatal(err)
	}
	// Begun for the old one and never ended.
	g, err := bundle.Gather(t.Context(), dir, readFile(t, newBundle(t, 3, 100).Dir, bundle.ManifestName), nil, nil)
	if err == nil {
		err = g.Close()
	}
	if err := errors.Join(err, os.MkdirAll(filepath.Join(filepath.Dir(dir), ".stages.fetch-0123456789ab"), 0o755)); err != nil {
		t.Fatal(err)
	}
	var log testkit.Log
	replacing := options(shared(t, newer))
	replacing.Log = log.Logger()
	if _, err := Fetch(testkit.Context(t), dir, slice(0), replacing); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, dir, newer, "stage-0.onnx")
	if s := log.String(); !strings.Contains(s, "level=WARN") || !strings.Contains(s, "old="+older.ID.Short()) {
		t.Errorf("the log says %s", s)
	}

	// Whoever wants a certain one gets no other.
	o := options(shared(t, older))
	o.ID = newer.ID.Short()
	if _, err := Fetch(testkit.Context(t), dir, slice(0), o); err != nil {
		t.Errorf("what is wanted is here: %v", err)
	}
	if _, err := Fetch(testkit.Context(t), dir, slice(1), o); err == nil || !strings.Contains(err.Error(), "it has bundle "+older.ID.Short()+" (m), wanted is "+newer.ID.Short()) {
		t.Errorf("another bundle than the one wanted: %v", err)
	}
	wantFiles(t, dir, newer, "stage-0.onnx")

	mine := filepath.Join(dir, "thesis.txt")
	if err := os.WriteFile(mine, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Fetch(testkit.Context(t), dir, slice(0), options(shared(t, older))); err == nil || !strings.Contains(err.Error(), "left alone") {
		t.Errorf("a folder with somebody's file: %v", err)
	}
	if err := os.Remove(mine); err != nil {
		t.Error(err)
	}
	wantFiles(t, dir, newer, "stage-0.onnx")
	// A link to a folder stays one.
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Fetch(testkit.Context(t), link, slice(0), options(shared(t, older))); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, dir, older, "stage-0.onnx")
	wantFiles(t, link, older, "stage-0.onnx")
}

func readFile(t testing.TB, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// nowhere is an address where nothing listens.
func nowhere(t testing.TB) string {
	l := listen(t, "localhost:0")
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func TestWithoutPeersWhatIsHereIsUsed(t *testing.T) {
	t.Parallel()
	made := newBundle(t, 1, 1<<20)
	dir := filepath.Join(t.TempDir(), "stages")
	if _, err := Fetch(testkit.Context(t), dir, slice(1), options(shared(t, made))); err != nil {
		t.Fatal(err)
	}
	var log testkit.Log
	gone, other := nowhere(t), nowhere(t)
	o := options(gone, other)
	o.Log = log.Logger()
	if b, err := Fetch(testkit.Context(t), dir, slice(1), o); err != nil || b.ID != made.ID {
		t.Errorf("%v", err)
	}
	if s := log.String(); !strings.Contains(s, "level=WARN") || !strings.Contains(s, "the one that is here is used") {
		t.Errorf("the log says %s", s)
	}
	o.Patience = 300 * time.Millisecond
	_, err := Fetch(testkit.Context(t), dir, slice(0), o)
	if err == nil || !strings.Contains(err.Error(), gone+": unreachable") || !strings.Contains(err.Error(), other+": unreachable") {
		t.Errorf("not everything is here: %v", err)
	}
	if _, err := Fetch(testkit.Context(t), filepath.Join(t.TempDir(), "stages"), slice(0), o); err == nil {
		t.Error("nothing is here, and it was used")
	}
	ctx, cancel := context.WithCancel(t.Context())
	o.Patience = testkit.Patience
	time.AfterFunc(100*time.Millisecond, cancel)
	if _, err := Fetch(ctx, dir, slice(0), o); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	wantFiles(t, dir, made, "stage-1.onnx", "stage-1.data")
}

func TestTheNextPeerTakesOver(t *testing.T) {
	t.Parallel()
	made := newBundle(t, 1, 2<<20)
	// One has the other slice only, one breaks off and never comes back.
	part := filepath.Join(t.TempDir(), "stages")
	if _, err := Fetch(testkit.Context(t), part, slice(0), options(shared(t, made))); err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Open(part)
	if err != nil {
		t.Fatal(err)
	}
	lacks := shared(t, b)
	var passed atomic.Int64
	broken := transfertest.NewWire(t, shared(t, made), func(n int) int {
		return int(max(0, 1<<20-passed.Add(int64(n))+int64(n)))
	})
	dir := filepath.Join(t.TempDir(), "stages")
	good := transfertest.NewWire(t, shared(t, made), nil)
	if _, err := Fetch(testkit.Context(t), dir, slice(1), options(nowhere(t), lacks, broken.Address, good.Address)); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, dir, made, "stage-1.onnx", "stage-1.data")
	// What the broken one gave was not fetched again: its last message at most.
	if n := good.Bytes(); n > 3<<20+200_000 {
		t.Errorf("%d bytes from the last peer, though others gave the first of 3 MB", n)
	}

	o := options(lacks, lacks)
	if _, err := Fetch(testkit.Context(t), filepath.Join(t.TempDir(), "stages"), slice(1), o); err == nil ||
		strings.Count(err.Error(), lacks+": ") != 2 || !strings.Contains(err.Error(), "stage-1.onnx is not there") {
		t.Errorf("nobody has it: %v", err)
	}
}

func TestATransferGoesOnWhenThePeerComesBack(t *testing.T) {
	t.Parallel()
	made := newBundle(t, 1, 40<<20)
	l := listen(t, "localhost:0")
	stop := serve(t, NewServer(made, maxMessage), l)
	slow := transfertest.NewWire(t, l.Addr().String(), func(n int) int { time.Sleep(time.Millisecond); return n })
	dir := filepath.Join(t.TempDir(), "stages")
	ended := make(chan error, 1)
	go func() {
		_, err := Fetch(testkit.Context(t), dir, slice(0), options(slow.Address))
		ended <- err
	}()
	testkit.Eventually(t, "some of it has come", func() bool { return slow.Bytes() > 4<<20 })
	stop() // ends the stream
	select {
	case err := <-ended:
		t.Fatalf("it ended without its peer: %v", err)
	default:
	}
	serve(t, NewServer(made, maxMessage), listen(t, l.Addr().String()))
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	wantFiles(t, dir, made, "stage-0.onnx")
	if n := slow.Bytes(); n > 40<<20+24<<20 { // what was on its way is lost
		t.Errorf("%d bytes for 40 MB", n)
	}
}

// Wherever connections break and fetchers end, the file is right in the end.
func TestRandomCutsGiveTheRightFiles(t *testing.T) {
	t.Parallel()
	const size = 200_000
	made := newBundle(t, 5, size)
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			dice := rand.New(rand.NewPCG(seed, 1))
			roll := func(n int) int {
				mu.Lock()
				defer mu.Unlock()
				return dice.IntN(n)
			}
			server := NewServer(made, 1<<10+roll(64<<10))
			l := listen(t, "localhost:0")
			serve(t, server, l)
			left := 20_000
			w := transfertest.NewWire(t, l.Addr().String(), func(n int) int {
				mu.Lock()
				defer mu.Unlock()
				pass := min(n, left)
				if left -= pass; left == 0 {
					left = 5_000 + dice.IntN(size/2)
					return pass
				}
				return n
			})
			dir := filepath.Join(t.TempDir(), "stages")
			for {
				// Some fetchers are ended from outside.
				at := int64(roll(size))
				ctx, cancel := context.WithCancel(testkit.Context(t))
				o := options(w.Address)
				o.Progress = func(done, _ int64) {
					if done > at {
						cancel()
					}
				}
				_, err := Fetch(ctx, dir, slice(1), o)
				cancel()
				if err == nil {
					break
				}
				if !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
				// Or leave bytes that are wrong, as a machine that fails may.
				if roll(3) == 0 {
					part := filepath.Join(filepath.Dir(dir), ".stages.fetch-"+made.ID.Short(), "stage-1.onnx")
					if f, err := os.OpenFile(part, os.O_WRONLY|os.O_APPEND, 0); err == nil {
						_, _ = f.Write(noise(1, roll(100)))
						_ = f.Close()
					}
				}
				if roll(4) == 0 {
					if _, err := Fetch(testkit.Context(t), dir, slice(1), options(l.Addr().String())); err != nil {
						t.Fatal(err)
					}
					break
				}
			}
			wantFiles(t, dir, made, "stage-1.onnx", "stage-1.data")
		})
	}
}

func TestFetchersOfOneFolderWaitForEachOther(t *testing.T) {
	t.Parallel()
	made, other := newBundle(t, 1, 1<<20), newBundle(t, 7, 1<<20)
	address := shared(t, made)
	dir := filepath.Join(t.TempDir(), "stages")
	var log testkit.Log
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			o := options(address)
			o.Log = log.Logger()
			want := []func(*bundle.Manifest) ([]bundle.File, error){slice(0), slice(1), texts}[i%3]
			if _, err := Fetch(testkit.Context(t), dir, want, o); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	wantFiles(t, dir, made, "stage-0.onnx", "stage-1.onnx", "stage-1.data", bundle.TokenizerName, bundle.ConfigName)

	// While one has the lock, another waits, and can be interrupted.
	elsewhere := filepath.Join(t.TempDir(), "stages")
	g, err := bundle.Gather(t.Context(), elsewhere, readFile(t, other.Dir, bundle.ManifestName), other.Files, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := options(address)
	o.Log = log.Logger()
	ctx, cancel := context.WithCancel(testkit.Context(t))
	ended := make(chan error, 1)
	go func() {
		_, err := Fetch(ctx, elsewhere, slice(0), o)
		ended <- err
	}()
	testkit.Eventually(t, "it waits", func() bool {
		return strings.Contains(log.String(), "waiting for another process") && strings.Contains(log.String(), elsewhere)
	})
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Fetch(testkit.Context(t), elsewhere, slice(0), o); err != nil {
		t.Error(err)
	}
	wantFiles(t, elsewhere, made, "stage-0.onnx")
}

// A liar is a peer that does as it likes.
type liar struct {
	onManifest func(grpc.ServerStream) error
	onRead     func(*transferpb.ReadRequest, grpc.ServerStream) error
}

func (l liar) manifest(s grpc.ServerStream) error                         { return l.onManifest(s) }
func (l liar) read(in *transferpb.ReadRequest, s grpc.ServerStream) error { return l.onRead(in, s) }

func (l liar) serve(t testing.TB) string {
	s := grpc.NewServer()
	s.RegisterService(&description, l)
	at := listen(t, "localhost:0")
	served := make(chan error, 1)
	go func() { served <- s.Serve(at) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return at.Addr().String()
}

// sends answers with the given messages.
func sends(s grpc.ServerStream, messages ...[]byte) error {
	for _, m := range messages {
		if err := s.SendMsg(&transferpb.Chunk{Data: m}); err != nil {
			return err
		}
	}
	return nil
}

func TestALyingPeerIsFoundOut(t *testing.T) {
	t.Parallel()
	made := newBundle(t, 1, 300_000)
	manifest := readFile(t, made.Dir, bundle.ManifestName)
	real := func(sha string) []byte {
		f, _, err := made.OpenFile(sha)
		if err != nil {
			t.Error(err)
			return nil
		}
		defer func() { _ = f.Close() }()
		data, _ := io.ReadAll(f)
		return data
	}
	for what, c := range map[string]struct {
		read func(*transferpb.ReadRequest, grpc.ServerStream) error
		says []string
	}{
		"wrong bytes": {func(in *transferpb.ReadRequest, s grpc.ServerStream) error {
			return sends(s, noise(99, len(real(in.GetSha256()))))
		}, []string{"stage-0.onnx has sha256 ", "the manifest says " + made.Stages[0].SHA256, "fetched twice"}},
		"a wrong rest": {func(in *transferpb.ReadRequest, s grpc.ServerStream) error {
			data := real(in.GetSha256())[in.GetOffset():]
			if in.GetOffset() == 0 {
				return sends(s, data[:len(data)/2])
			}
			return sends(s, noise(99, len(data)))
		}, []string{"has sha256", made.Stages[0].SHA256}},
		"more bytes": {func(in *transferpb.ReadRequest, s grpc.ServerStream) error {
			return sends(s, append(real(in.GetSha256()), 0))
		}, []string{"more bytes than the manifest says", "300000"}},
		"bytes without end": {func(_ *transferpb.ReadRequest, s grpc.ServerStream) error {
			for {
				if err := sends(s, make([]byte, 1<<20)); err != nil {
					return err
				}
			}
		}, []string{"more bytes than the manifest says"}},
		"too large a message": {func(_ *transferpb.ReadRequest, s grpc.ServerStream) error {
			return sends(s, make([]byte, 3<<20))
		}, []string{"larger than max"}},
		"empty messages": {func(_ *transferpb.ReadRequest, s grpc.ServerStream) error {
			for {
				if err := sends(s, nil); err != nil {
					return err
				}
			}
		}, []string{"nothing in them"}},
		"fewer bytes": {func(in *transferpb.ReadRequest, s grpc.ServerStream) error {
			if in.GetOffset() > 0 {
				return nil
			}
			return sends(s, real(in.GetSha256())[:1000])
		}, []string{"it ended after 1000 of 300000 bytes"}},
		"nothing": {func(_ *transferpb.ReadRequest, s grpc.ServerStream) error {
			<-s.Context().Done()
			return nil
		}, []string{"sent nothing for too long"}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			lies := liar{func(s grpc.ServerStream) error { return sends(s, manifest) }, c.read}.serve(t)
			dir := filepath.Join(t.TempDir(), "stages")
			o := options(lies)
			o.Patience = 8 * time.Second
			_, err := Fetch(testkit.Context(t), dir, slice(0), o)
			if err == nil {
				t.Fatal("it was believed")
			}
			for _, s := range c.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("does not say %q: %v", s, err)
				}
			}
			if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("something is in the bundle's place: %v", err)
			}
			// With an honest one beside it, the file is right.
			o = options(lies, shared(t, made))
			o.Patience = 20 * time.Second
			if _, err := Fetch(testkit.Context(t), dir, slice(0), o); err != nil {
				t.Fatal(err)
			}
			wantFiles(t, dir, made, "stage-0.onnx")
		})
	}
}

func TestAManifestIsRefusedUnlessItIsRight(t *testing.T) {
	t.Parallel()
	made := newBundle(t, 1, 1000)
	manifest := string(readFile(t, made.Dir, bundle.ManifestName))
	change := func(from, to string) []byte {
		if !strings.Contains(manifest, from) {
			t.Fatalf("the manifest holds no %s", from)
		}
		return []byte(strings.ReplaceAll(manifest, from, to))
	}
	huge := change(`"bytes": 500`, `"bytes": 1152921504606846976`) // external data may be large
	if !json.Valid(huge) {
		t.Fatal("not JSON")
	}
	for what, c := range map[string]struct {
		manifest func(grpc.ServerStream) error
		says     string
	}{
		"without end": {func(s grpc.ServerStream) error {
			for {
				if err := sends(s, bytes.Repeat([]byte(" "), 1<<20)); err != nil {
					return err
				}
			}
		}, "larger than 64 MB"},
		"slow without end": {func(s grpc.ServerStream) error {
			for {
				time.Sleep(10 * time.Millisecond)
				if err := sends(s, []byte(" ")); err != nil {
					return err
				}
			}
		}, "nothing for too long"},
		"a name that is a path": {func(s grpc.ServerStream) error { return sends(s, change(`"stage-0.onnx"`, `"../../stage-0.onnx"`)) }, "not a plain file name"},
		"an absolute name":      {func(s grpc.ServerStream) error { return sends(s, change(`"stage-0.onnx"`, `"/tmp/stage-0.onnx"`)) }, "not a plain file name"},
		"a hidden name":         {func(s grpc.ServerStream) error { return sends(s, change(`"stage-0.onnx"`, `".new"`)) }, "not a plain file name"},
		"none":                  {func(grpc.ServerStream) error { return nil }, "not a manifest"},
		"many objects": {func(s grpc.ServerStream) error {
			return sends(s, []byte(`{"format":1,"stages":[`), bytes.Repeat([]byte("{},"), 300_000), bytes.Repeat([]byte("{},"), 300_000), bytes.Repeat([]byte("{},"), 300_000), bytes.Repeat([]byte("{},"), 300_000), []byte("{}]}"))
		}, "objects"},
		"more than the disk has": {func(s grpc.ServerStream) error { return sends(s, huge) }, "has no room for the files: 1152921504"},
		"another service":        {func(grpc.ServerStream) error { return status.Error(codes.Unimplemented, "unknown") }, "shares no bundle"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			parent := t.TempDir()
			o := options(liar{onManifest: c.manifest}.serve(t))
			if what == "slow without end" {
				o.Patience = time.Second
			}
			if _, err := Fetch(testkit.Context(t), filepath.Join(parent, "stages"), slice(1), o); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("does not say %q: %v", c.says, err)
			}
			if got := entries(t, parent); len(got) != 0 {
				t.Errorf("left: %v", got)
			}
		})
	}
}

// read reads a file from a server directly.
func read(t testing.TB, address, sha string, offset int64, take func([]byte) error) error {
	p, err := dial(address, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.conn.Close() }()
	return p.receive(testkit.Context(t), readMethod, &transferpb.ReadRequest{Sha256: sha, Offset: offset}, testkit.Patience, take)
}

func TestAServerSharesOnlyWhatTheManifestNames(t *testing.T) {
	t.Parallel()
	made := newBundle(t, 1, 5000)
	address := shared(t, made)
	none := func([]byte) error { t.Error("something came"); return nil }
	for _, name := range []string{"", "manifest.json", "stage-0.onnx", "../stages/stage-0.onnx", "/etc/passwd", string(made.ID), strings.Repeat("0", 64)} {
		if err := read(t, address, name, 0, none); err == nil || !strings.Contains(err.Error(), "no such file") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, offset := range []int64{-1, 5001, 1 << 62} {
		if err := read(t, address, made.Stages[0].SHA256, offset, none); err == nil || !strings.Contains(err.Error(), "cannot be read from") {
			t.Errorf("offset %d: %v", offset, err)
		}
	}
	if err := read(t, address, made.Stages[0].SHA256, 5000, none); err != nil {
		t.Errorf("from the end: %v", err)
	}
	var got []byte
	if err := read(t, address, made.Stages[0].SHA256, 4990, func(b []byte) error { got = append(got, b...); return nil }); err != nil || !bytes.Equal(got, noise(1, 5000)[4990:]) {
		t.Errorf("the last bytes: %v, %v", got, err)
	}
	// A link is no file, whatever it leads to.
	path := filepath.Join(made.Dir, "stage-0.onnx")
	if err := errors.Join(os.Rename(path, filepath.Join(t.TempDir(), "x")), os.Symlink("/etc/hostname", path)); err != nil {
		t.Fatal(err)
	}
	if err := read(t, address, made.Stages[0].SHA256, 0, none); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("a link: %v", err)
	}
	if err := os.WriteFile(filepath.Join(made.Dir, "stage-1.onnx"), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := read(t, address, made.Stages[1].SHA256, 0, none); err == nil || !strings.Contains(err.Error(), "has 5 bytes") {
		t.Errorf("another size: %v", err)
	}
	// Another bundle has taken the place of the one that is shared.
	makeBundle(t, filepath.Join(t.TempDir(), "stages"), 3, 10)
	if err := os.WriteFile(filepath.Join(made.Dir, bundle.ManifestName), readFile(t, newBundle(t, 3, 10).Dir, bundle.ManifestName), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Fetch(testkit.Context(t), filepath.Join(t.TempDir(), "stages"), slice(0), options(address)); err == nil || !strings.Contains(err.Error(), "another bundle stands there now") {
		t.Errorf("another bundle: %v", err)
	}
}

func TestAFileThatChangesUnderneathIsNeverSilentlyWrong(t *testing.T) {
	t.Parallel()
	const size = 32 << 20 // more than is on its way at a time
	for what, change := range map[string]func(*os.File) error{
		"truncated": func(f *os.File) error { return f.Truncate(size / 2) },
		"written": func(f *os.File) error {
			_, err := f.WriteAt(noise(9, 1000), size-1000)
			return errors.Join(err, os.Chtimes(f.Name(), time.Time{}, time.Now().Add(time.Second)))
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			made := newBundle(t, 1, size)
			f, err := os.OpenFile(filepath.Join(made.Dir, "stage-0.onnx"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			once := sync.OnceValue(func() error { return change(f) })
			if err := read(t, shared(t, made), made.Stages[0].SHA256, 0, func([]byte) error { return once() }); !lasting(err) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestAServerBoundsItsStreams(t *testing.T) {
	t.Parallel()
	made := newBundle(t, 1, 32<<20)
	s := NewServer(made, maxMessage)
	s.reads = limiter.New(1, 0)
	s.stall = time.Second
	l := listen(t, "localhost:0")
	serve(t, s, l)
	// A reader that takes nothing more keeps the only place, but not for ever.
	begun, end := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- read(t, l.Addr().String(), made.Stages[0].SHA256, 0, func([]byte) error {
			select {
			case <-begun:
			default:
				close(begun)
			}
			<-end
			return nil
		})
	}()
	<-begun
	if err := read(t, l.Addr().String(), made.Stages[0].SHA256, 0, func([]byte) error { return nil }); err == nil || !strings.Contains(err.Error(), "try again later") || lasting(err) {
		t.Errorf("one too many: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "stages")
	if _, err := Fetch(testkit.Context(t), dir, slice(1), options(l.Addr().String())); err != nil {
		t.Errorf("when the place is free again: %v", err)
	}
	close(end)
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "took nothing") {
		t.Errorf("the reader that took nothing: %v", err)
	}
}

func TestMessagesStayWithinTheLimit(t *testing.T) {
	t.Parallel()
	made := newBundle(t, 1, 100_000)
	for _, limit := range []int{1 << 10, 1 << 30} {
		l := listen(t, "localhost:0")
		server := grpc.NewServer(grpc.MaxSendMsgSize(limit))
		NewServer(made, limit).Register(server)
		served := make(chan error, 1)
		go func() { served <- server.Serve(l) }()
		dir := filepath.Join(t.TempDir(), "stages")
		if _, err := Fetch(testkit.Context(t), dir, slice(1), options(l.Addr().String())); err != nil {
			t.Errorf("limit %d: %v", limit, err)
		}
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}

func TestAServerIsHealthyAndStopsInOrder(t *testing.T) {
	t.Parallel()
	made := newBundle(t, 1, 32<<20)
	l := listen(t, "localhost:0")
	stop := serve(t, NewServer(made, maxMessage), l)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	r, err := grpc_health_v1.NewHealthClient(conn).Check(testkit.Context(t), &grpc_health_v1.HealthCheckRequest{Service: serviceName})
	if err != nil || r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("%v, %v", r, err)
	}
	// A stream that would take for ever does not keep it.
	err = read(t, l.Addr().String(), made.Stages[0].SHA256, 0, func([]byte) error { stop(); return nil })
	if err == nil || lasting(err) {
		t.Errorf("a stream whose server stops: %v", err)
	}
	if _, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String()); err == nil {
		t.Error("it still listens")
	}
}
