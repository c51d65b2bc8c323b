// Package ort runs ONNX models with ONNX Runtime.
//
// It is the only package that knows the ONNX Runtime binding; what it gives to
// others are tensors and Runners. It knows nothing of bundles, text or the
// network.
package ort

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	binding "github.com/yalue/onnxruntime_go"

	"github.com/distinfer/distinfer/runtime/ort/threads"
)

// SetupDir is the folder, relative to the module's root, that `make setup`
// fetches the shared library into.
const SetupDir = ".setup/onnxruntime"

// oldest is the first release of ONNX Runtime that has the C API version the
// binding is compiled for.
const oldest = "1.24"

// The binding keeps one environment a process, so this package has to as well:
// loading is counted, and only the first load chooses the file.
var process struct {
	sync.Mutex
	users int
	path  string
	api   api
	arena bool // there is an Arena
}

// A Library is ONNX Runtime, loaded into this process.
type Library struct {
	path   string
	api    api
	closed sync.Once
}

// Load loads ONNX Runtime. When explicit is not empty, it is the file to load
// and nothing else is tried; otherwise Candidates are tried in order. The error
// lists every place that was tried and why it failed.
//
// A process holds one copy of the library: a second Load shares it, and fails
// when it names another file.
func Load(explicit string) (*Library, error) {
	process.Lock()
	defer process.Unlock()
	if process.users > 0 {
		if explicit != "" && explicit != process.path {
			return nil, fmt.Errorf("ONNX Runtime is already loaded from %s, cannot load %s as well", process.path, explicit)
		}
		process.users++
		return &Library{path: process.path, api: process.api}, nil
	}

	candidates := Candidates()
	if explicit != "" {
		candidates = []string{explicit}
	}
	var tried []string
	for _, path := range candidates {
		api, err := open(path)
		if err == nil {
			process.users, process.path, process.api = 1, path, api
			threads.Watch()
			return &Library{path: path, api: process.api}, nil
		}
		tried = append(tried, fmt.Sprintf("%s (%v)", path, err))
	}
	return nil, &LoadError{tried, explicit != ""}
}

// A LoadError is that none of the places searched has a library that loads.
type LoadError struct {
	Tried []string // each with the reason
	Named bool     // it was the only one asked for
}

// Error lists what was tried.
func (e *LoadError) Error() string {
	return fmt.Sprintf("ONNX Runtime (%s or newer) did not load; tried %s", oldest, strings.Join(e.Tried, ", "))
}

// telemetrySwitch turns off, when it is set before the library is initialised,
// that official builds report to their maker from every machine they run on.
const telemetrySwitch = "ORT_DISABLE_TELEMETRY"

func open(path string) (api, error) {
	if _, chosen := os.LookupEnv(telemetrySwitch); !chosen {
		if err := os.Setenv(telemetrySwitch, "1"); err != nil {
			return api{}, fmt.Errorf("turn off telemetry: %w", err)
		}
	}
	if strings.ContainsRune(path, filepath.Separator) {
		if info, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return api{}, errors.New("no such file")
		} else if err != nil {
			return api{}, err
		} else if info.IsDir() {
			return api{}, errors.New("is a folder, not the library file")
		}
	}
	// The loader keeps the reason of a failure for the thread that asked.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	binding.SetSharedLibraryPath(path)
	a, err := loadAPI(path, runtime.GOMAXPROCS(0))
	if err == nil {
		if err = binding.InitializeEnvironment(binding.WithLogLevelFatal()); err == nil {
			return a, nil
		}
		a.release()
	}
	msg := err.Error()
	switch {
	case strings.Contains(msg, "setting ORT API base"):
		return api{}, fmt.Errorf("older than %s", oldest)
	case strings.Contains(msg, "cannot open shared object file: No such file"):
		return api{}, errors.New("not found by the system loader")
	}
	if i := strings.LastIndex(msg, `": `); i >= 0 {
		msg = msg[i+3:]
	}
	if msg == "" {
		msg = "did not load"
	}
	return api{}, errors.New(msg)
}

// Candidates are the places that are searched for the library, in order: those of the
// Installation, then the system's loader.
func Candidates() []string {
	name := sharedLibrary("")
	var places []string
	if exe, err := executable(); err == nil {
		for _, at := range installationsOf(exe) {
			if !slices.Contains(places, at.place) {
				places = append(places, at.place)
			}
		}
	}
	return append(places, name, sharedLibrary(".1"))
}

// Version is the library's version, such as "1.32.0".
func (l *Library) Version() string { return binding.GetVersion() }

// Path is the file the library was loaded from.
func (l *Library) Path() string { return l.path }

// Close gives the library back. The last Close unloads it: sessions and pools are
// closed before.
func (l *Library) Close() error {
	var err error
	l.closed.Do(func() {
		process.Lock()
		defer process.Unlock()
		if threads.Lost() { // threads that may use it
			return
		}
		if process.users--; process.users == 0 {
			err = binding.DestroyEnvironment()
			process.api.release()
		}
	})
	return err
}
