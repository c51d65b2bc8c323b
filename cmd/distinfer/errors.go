package main

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/distinfer/distinfer/cmd/settings"
	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/feed"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/textfile"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/client"
	"github.com/distinfer/distinfer/server/cluster"
	"github.com/distinfer/distinfer/server/mtls/authority"
	"github.com/distinfer/distinfer/server/node"
	"github.com/distinfer/distinfer/server/supervisor"
	"github.com/distinfer/distinfer/server/task"
	"github.com/distinfer/distinfer/server/tracing"
	"github.com/distinfer/distinfer/server/transfer"
	"github.com/distinfer/distinfer/split"
	"github.com/distinfer/distinfer/split/engine"
	"github.com/distinfer/distinfer/split/modelfolder"
)

// A usageError is a command line that cannot be understood.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// oneLine is an error's message without the line breaks that some libraries put into theirs, and
// with the flags that help against it: packages below this one know none.
func oneLine(err error) string {
	message := strings.Join(strings.Fields(err.Error()), " ")
	if r := remedy(err); r != "" {
		return message + "; " + r
	}
	return message
}

func remedy(err error) string {
	var (
		count    *cluster.CountError
		rank     *cluster.RankError
		here     *cluster.HereError
		insecure *node.InsecureError
		port     *node.ListenError
		other    *node.BundleError
		pair     *node.PairError
		memory   *node.MemoryError
		task     *node.TaskError
		missing  *bundle.MissingError
		exists   *bundle.ExistsError
		table    *textfile.ColumnError
		header   *textfile.HeaderError
		encoding *textfile.EncodingError
		tokens   *textmodel.MaxTokensError
		library  *ort.LoadError
		whole    *transfer.WholeError
		place    *split.PlaceError
		slow     *engine.SlowError
		texts    *split.TextsError
		folder   *modelfolder.FolderError
		made     *modelfolder.BundleError
		none     *modelfolder.NoModelError
		several  *modelfolder.FileError
		name     *modelfolder.NameError
		machine  *authority.ExistsError
		refused  *client.Error
		input    *feed.Error
	)
	switch {
	case errors.As(err, &texts):
		return textsRemedy(texts)
	case errors.As(err, &folder):
		return "--file is for a folder: leave it out"
	case errors.As(err, &made):
		return "serve it with `distinfer up --bundle " + made.Dir + "`, or give the model that it was made from"
	case errors.As(err, &none) && none.Weights != "":
		return "export it first: " + export(none.Dir, "text-classification")
	case errors.As(err, &several):
		return "choose one with --file"
	case errors.As(err, &name):
		return "choose another with --name"
	case errors.As(err, &place) && len(place.Similar) == 0:
		return "`distinfer split --dry-run -o dot` shows all names"
	case errors.As(err, &refused) && refused.Status == http.StatusUnauthorized:
		return "name a file that holds one with --token-file"
	case errors.As(err, &machine):
		return "replace it with --renew, or add a name to it: `distinfer certs " + filepath.Base(machine.Folder) + ",NAME`"
	case errors.As(err, &slow):
		return "--verify-timeout allows more"
	case errors.As(err, &count), errors.As(err, &rank):
		return "--stages names the addresses"
	case errors.As(err, &here) && here.Several:
		return "say which with --listen host:port"
	case errors.As(err, &here):
		return "say where to listen with --listen host:port"
	case errors.As(err, &table) && table.Column == "":
		return "name it with --column"
	case errors.As(err, &header):
		return "say which with --header yes or no"
	case errors.As(err, &encoding):
		return "--encoding names it"
	case errors.As(err, &tokens):
		return "choose another number with --max-tokens"
	case errors.As(err, &library) && library.Named:
		return "name another with --onnxruntime or DISTINFER_ONNXRUNTIME, or none to have it searched"
	case errors.As(err, &library):
		return libraryRemedies[ort.InstalledAs()] + ", or give the path of libonnxruntime with --onnxruntime or DISTINFER_ONNXRUNTIME"
	case errors.As(err, &whole):
		return "--bundle-id names one, and without --fetch the one that is here is used"
	case errors.As(err, &insecure):
		return encryption[insecure.With] + ", or say --insecure if the network is as good as this machine"
	case errors.As(err, &port):
		return "choose another address with " + addressFlags[port.For]
	case errors.Is(err, supervisor.ErrOther):
		return "stages: in the config file names them"
	case errors.As(err, &other):
		return "--bundle-id asks for it"
	case errors.As(err, &pair):
		return "give both --https-cert and --https-key, or neither for plain HTTP"
	case errors.As(err, &memory):
		return "--max-memory says how much"
	case errors.As(err, &missing):
		return "make it with `distinfer split model.onnx --out " + missing.Dir + "`, or name another with --bundle"
	case errors.As(err, &exists):
		return "replace it with --force, or choose another folder with --out"
	case errors.As(err, &input):
		return exports[input.Cause]
	case errors.As(err, &task):
		return "leave --ask out"
	}
	return ""
}

// exports are commands that export a model without an input that cannot be filled.
var exports = map[feed.Cause]string{
	feed.Decoder: "`optimum-cli export onnx --model MODEL --library sentence_transformers --task feature-extraction DIR` does, and for models that generate texts `--library transformers --task text2text-generation`, as encoder_model.onnx",
	feed.Cache:   "`optimum-cli export onnx --model MODEL --task feature-extraction DIR` does",
	feed.Step:    "`optimum-cli export onnx --model MODEL --task feature-extraction DIR` does",
}

// textsRemedy says what makes a model's texts answerable.
func textsRemedy(err error) string {
	var (
		missing *modelfolder.MissingError
		task    *task.UnservableError
		input   *feed.Error
	)
	remedy := ""
	switch {
	case errors.As(err, &missing) && missing.NoFast != "":
	case errors.As(err, &missing) && missing.File == bundle.ConfigName:
		remedy = "put there the config.json of the model that it was exported from; "
	case errors.As(err, &missing) && missing.Slow != "":
		remedy = "make it there: " + saveTokenizer(".", ".") + "; "
	case errors.As(err, &missing):
		remedy = "make it there, of the model that it was exported from: " + saveTokenizer("ORIGINAL", ".") + "; "
	case errors.As(err, &task) && task.Task != "":
		remedy = "export it for a task that can be served: " + export("ORIGINAL", task.Task) + "; "
	case errors.As(err, &input) && exports[input.Cause] != "":
		remedy = exports[input.Cause] + "; "
	}
	return remedy + "--no-text splits it to answer tensors only"
}

// saveTokenizer is the line that writes the tokenizer.json of a model.
func saveTokenizer(from, to string) string {
	return fmt.Sprintf("`python -c \"from transformers import AutoTokenizer; AutoTokenizer.from_pretrained('%s').save_pretrained('%s')\"`", from, to)
}

// export is the line that exports a model for a task.
func export(model, task string) string {
	return fmt.Sprintf("`optimum-cli export onnx --model %s --task %s FOLDER`", model, task)
}

// encryption is what makes traffic secure.
var encryption = map[node.Party]string{
	node.Machines: "give each machine a folder of `distinfer certs` with --tls",
	node.Clients:  "give a certificate with --https-cert and --https-key",
	node.Watchers: "choose an address of this machine only",
	node.Fronts:   "use an https:// URL",
}

// libraryRemedies bring back ONNX Runtime.
var libraryRemedies = map[ort.Installation]string{
	ort.Archive:  "unpack the whole archive again, lib/ has to be beside the program",
	ort.Image:    "pull the image again, /usr/lib/distinfer/libonnxruntime.so is part of it",
	ort.Package:  "install the package distinfer again",
	ort.Wheel:    "run `pip install --force-reinstall 'onnxruntime>=1.24'`",
	ort.Checkout: "run `make setup`",
	ort.Unknown:  "copy the folder lib/ of the release beside the program",
}

// addressFlags say where a service listens.
var addressFlags = map[node.Service]string{
	node.HTTP: "--port or --listen", node.GRPC: "--grpc-port", node.Sharing: "--share", node.Watching: "--admin", node.Probes: "--health", node.Runs: "--listen",
}

// isUsage reports whether an error is about what was asked for, and not about what happened.
func isUsage(err error) bool {
	var (
		usage       usageError
		setting     *settings.Error
		table       *textfile.ColumnError
		header      *textfile.HeaderError
		encoding    *textfile.EncodingNameError
		insecure    *node.InsecureError
		pair        *node.PairError
		environment *tracing.EnvironmentError
		folder      *modelfolder.FolderError
		name        *modelfolder.NameError
	)
	return errors.As(err, &usage) || errors.As(err, &setting) || errors.As(err, &table) || errors.As(err, &header) || errors.As(err, &encoding) || errors.As(err, &insecure) || errors.As(err, &pair) || errors.As(err, &environment) || errors.As(err, &folder) || errors.As(err, &name)
}
