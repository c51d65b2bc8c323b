package modelfolder

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/strictjson"
)

// Sizes of what is read into memory, in bytes: of a file, and of one that lists others.
const (
	maxFile = 64 << 20
	maxList = 1 << 20
)

// maxModules is the largest number of modules in modules.json.
const maxModules = 64

// maxName is the most characters of a name that is set. With what else stands in a URL path it
// has room anywhere.
const maxName = 128

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// CheckName fails with a *NameError when a name cannot be a model's.
func CheckName(name string) error {
	if len(name) > maxName || !plainName.MatchString(name) {
		return &NameError{name}
	}
	return nil
}

// A File is a text file of a model.
type File struct {
	Name string // in a bundle
	From string // its path
	Data []byte
}

// Texts are the files that say how a model reads texts, as far as they are there.
type Texts struct {
	Files    []File
	LookedIn []string // the folders, the nearest first

	slow   string // a file of a tokenizer in another form
	noFast string // the class of a tokenizer that has no fast form
}

// The files of sentence-transformers with the most tokens of a text, in its order; the first that
// is there counts.
var sentenceConfigs = []string{
	bundle.SentenceConfigName, "sentence_roberta_config.json", "sentence_distilbert_config.json", "sentence_camembert_config.json",
	"sentence_albert_config.json", "sentence_xlm-roberta_config.json", "sentence_xlnet_config.json",
}

// slowForms are files that tokenizers without tokenizer.json are saved as.
var slowForms = []string{
	"vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "spm.model", "source.spm", "vocab.json", "merges.txt",
	"bpe.codes", "tiktoken.model", "vocab.model", bundle.TokenizerConfigName,
}

// Texts reads the text files of a model. Files that belong together come from one folder, the
// nearest that has one of them: config.json; those of the tokenizer; those of
// sentence-transformers. So copies beside the model count for more than those of the repository,
// as in optimum, and no tokenizer is read by the settings of another.
func (m *Model) Texts() (*Texts, error) {
	root, err := os.OpenRoot(m.bounds)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	r := &reader{root: root, bounds: m.bounds}
	t := &Texts{LookedIn: slices.Clone(m.folders)}
	sentence := r.first(m.folders, bundle.ModulesName, bundle.PromptsName)
	modules, err := r.modules(sentence)
	if err != nil {
		return nil, err
	}
	if path := transformer(modules); path != "" {
		// The first module is in a folder of its own, and so are its files.
		if dir := filepath.Join(sentence, path); !slices.Contains(t.LookedIn, dir) {
			t.LookedIn = slices.Insert(t.LookedIn, slices.Index(t.LookedIn, sentence), dir)
		}
	}
	r.take(r.first(t.LookedIn, bundle.ConfigName), bundle.ConfigName)
	tokenizer := r.first(t.LookedIn, bundle.TokenizerName, bundle.TokenizerConfigName)
	r.take(tokenizer, bundle.TokenizerName, bundle.TokenizerConfigName, bundle.SpecialTokensName)
	r.takeLength(r.first(t.LookedIn, sentenceConfigs...))
	r.take(sentence, bundle.ModulesName, bundle.PromptsName)
	for _, module := range modules {
		r.takeModule(sentence, module)
	}
	if r.err != nil {
		return nil, r.err
	}
	t.Files = r.files
	if !t.has(bundle.TokenizerName) {
		t.slow, t.noFast = r.slowForm(t.LookedIn), t.slowOnly()
	}
	return t, nil
}

// has reports whether a file is there, by its name in a bundle.
func (t *Texts) has(name string) bool { return t.data(name) != nil }

func (t *Texts) data(name string) []byte {
	for _, f := range t.Files {
		if f.Name == name {
			return f.Data
		}
	}
	return nil
}

// Bare reports whether there is nothing that a text model has beside it.
func (t *Texts) Bare() bool { return len(t.Files) == 0 && t.slow == "" }

// HasTokenizer reports whether there is a tokenizer.json.
func (t *Texts) HasTokenizer() bool { return t.has(bundle.TokenizerName) }

// Missing returns a *MissingError when a file is missing without which no text can be answered.
func (t *Texts) Missing() error {
	switch {
	case !t.HasTokenizer():
		return &MissingError{bundle.TokenizerName, t.LookedIn, t.slow, t.noFast}
	case !t.has(bundle.ConfigName):
		return &MissingError{File: bundle.ConfigName, LookedIn: t.LookedIn}
	}
	return nil
}

// Data are the files' contents by their names in a bundle.
func (t *Texts) Data() map[string][]byte {
	data := map[string][]byte{}
	for _, f := range t.Files {
		data[f.Name] = f.Data
	}
	return data
}

// A module is an entry of modules.json.
type module struct {
	path string
	kind string // the last part of its type
}

// transformer is the folder of the first module, or "".
func transformer(modules []module) string {
	if len(modules) == 0 {
		return ""
	}
	return modules[0].path
}

// names reports whether modules.json in a folder has a first module in the folder of that name.
func names(dir, name string) bool {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false
	}
	defer func() { _ = root.Close() }()
	modules, err := (&reader{root: root, bounds: dir}).modules(dir)
	return err == nil && transformer(modules) == name
}

// holdsTexts reports whether a folder holds files of a model that reads texts.
func holdsTexts(dir string) bool {
	for _, name := range []string{bundle.ConfigName, bundle.TokenizerName, bundle.ModulesName} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

func parseModules(data []byte) ([]module, error) {
	file, err := strictjson.PythonFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	list, err := file.List()
	if err != nil {
		return nil, err
	}
	if len(list) > maxModules {
		return nil, fmt.Errorf("it lists %d modules, more than %d", len(list), maxModules)
	}
	var modules []module
	for _, v := range list {
		o, err := v.Object()
		if err != nil {
			return nil, err
		}
		var m module
		m.path, _ = o.OptionalText("path")
		m.kind, _ = o.OptionalText("type")
		if err := o.Err(); err != nil {
			return nil, err
		}
		if m.path = filepath.Clean(m.path); !filepath.IsLocal(m.path) {
			return nil, fmt.Errorf("the path %.200q of a module leads out of the folder", m.path)
		}
		if m.path == "." {
			m.path = "" // the folder itself
		}
		m.kind = m.kind[strings.LastIndexByte(m.kind, '.')+1:]
		modules = append(modules, m)
	}
	return modules, nil
}

// weighty are the modules with weights that a bundle takes along.
var weighty = []string{"Dense", "LayerNorm"}

// A reader reads files inside a folder. It keeps the first error.
type reader struct {
	root   *os.Root
	bounds string
	files  []File
	err    error
}

// first is the first of the folders that has one of the files, or "".
func (r *reader) first(folders []string, names ...string) string {
	for _, name := range names {
		for _, dir := range folders {
			if r.there(filepath.Join(dir, name)) {
				return dir
			}
		}
	}
	return ""
}

// there reports whether a file is there, be it one that may not be read.
func (r *reader) there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// modules reads modules.json in a folder, if there is one.
func (r *reader) modules(dir string) ([]module, error) {
	path := filepath.Join(dir, bundle.ModulesName)
	if dir == "" || !r.there(path) {
		return nil, nil
	}
	data, err := r.read(path, maxList)
	if err != nil {
		return nil, err
	}
	modules, err := parseModules(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return modules, nil
}

// take takes the files of a folder that are there. Without a folder it takes nothing.
func (r *reader) take(dir string, names ...string) {
	for _, name := range names {
		r.takeAs(dir, name, name)
	}
}

// takeLength takes the first of the files with a length.
func (r *reader) takeLength(dir string) {
	for _, name := range sentenceConfigs {
		if r.takeAs(dir, name, bundle.SentenceConfigName) {
			return
		}
	}
}

// takeModule takes the configuration of a module and the weights of those that have some.
func (r *reader) takeModule(dir string, m module) {
	if m.path == "" || m.kind == "Transformer" {
		return
	}
	folder := filepath.ToSlash(m.path)
	r.takeAs(dir, filepath.Join(m.path, bundle.ConfigName), bundle.ModuleFileName(folder, bundle.ConfigName))
	if !slices.Contains(weighty, m.kind) {
		return
	}
	for _, name := range []string{bundle.WeightsName, bundle.OldWeightsName} {
		if r.takeAs(dir, filepath.Join(m.path, name), bundle.ModuleFileName(folder, name)) {
			return
		}
	}
}

// takeAs takes a file under another name, unless it was taken, and reports whether it is there.
func (r *reader) takeAs(dir, name, as string) bool {
	path := filepath.Join(dir, name)
	if dir == "" || r.err != nil || !r.there(path) {
		return false
	}
	if slices.ContainsFunc(r.files, func(f File) bool { return f.Name == as }) {
		return true
	}
	data, err := r.read(path, maxFile)
	if err != nil {
		r.err = err
		return false
	}
	r.files = append(r.files, File{as, path, data})
	return true
}

// read reads a regular file inside the folder. A link is followed inside it only.
func (r *reader) read(path string, most int64) ([]byte, error) {
	name, err := filepath.Rel(absolute(r.bounds), absolute(path))
	if err != nil {
		return nil, err
	}
	f, err := r.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		if info, errLink := os.Lstat(path); errLink == nil && info.Mode()&fs.ModeSymlink != 0 {
			return nil, fmt.Errorf("%s is a link to nothing, or out of %s; put the file itself there", path, r.bounds)
		}
		var at *fs.PathError
		if errors.As(err, &at) {
			err = at.Err
		}
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Size() > most:
		return nil, fmt.Errorf("%s has %d bytes, more than the %d MB that are read of such a file", path, info.Size(), most>>20)
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = errors.New("it grew while it was read")
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return data, nil
}

// slowForm is a file of a tokenizer in another form.
func (r *reader) slowForm(folders []string) string {
	if dir := r.first(folders, slowForms...); dir != "" {
		for _, name := range slowForms {
			if r.there(filepath.Join(dir, name)) {
				return name
			}
		}
	}
	return ""
}
