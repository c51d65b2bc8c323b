package modelfolder_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/distinfer/distinfer/split/modelfolder"
)

// lay writes files with their own path as content, or with what follows "=".
func lay(t *testing.T, dir string, files ...string) {
	t.Helper()
	for _, f := range files {
		name, content, given := strings.Cut(f, "=")
		if !given {
			content = name
		}
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

const modules = `modules.json=[{"path": "", "type": "sentence_transformers.models.Transformer"},
	{"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
	{"path": "more/2_Dense", "type": "sentence_transformers.models.Dense"},
	{"path": "3_Normalize", "type": "sentence_transformers.models.Normalize"}]`

func TestFindNamesTheFileAndTheModel(t *testing.T) {
	t.Parallel()
	const hub = "models--some-org--a-model/snapshots/0a1b2c"
	for what, c := range map[string]struct {
		files             []string
		path, file        string
		model, name, more string
	}{
		"beside its files":                     {[]string{"org-name/model.onnx", "org-name/config.json"}, "org-name/model.onnx", "", "org-name/model.onnx", "org-name", ""},
		"a file in onnx/":                      {[]string{"org-name/onnx/model.onnx", "org-name/config.json"}, "org-name/onnx/model.onnx", "", "org-name/onnx/model.onnx", "org-name", ""},
		"a file in onnx/ of nothing else":      {[]string{"org-name/onnx/model.onnx"}, "org-name/onnx/model.onnx", "", "org-name/onnx/model.onnx", "org-name", ""},
		"a variant":                            {[]string{"org-name/onnx/model_qint8_avx512.onnx"}, "org-name/onnx/model_qint8_avx512.onnx", "", "org-name/onnx/model_qint8_avx512.onnx", "org-name", ""},
		"a folder below onnx/":                 {[]string{"org-name/onnx/int8/model.onnx", "org-name/config.json"}, "org-name/onnx/int8/model.onnx", "", "org-name/onnx/int8/model.onnx", "org-name", ""},
		"onnx/ is only above":                  {[]string{"onnx/a-model/model.onnx"}, "onnx/a-model/model.onnx", "", "onnx/a-model/model.onnx", "a-model", ""},
		"a file with a name of its own":        {[]string{"downloads/resnet.onnx"}, "downloads/resnet.onnx", "", "downloads/resnet.onnx", "resnet", ""},
		"a folder":                             {[]string{"org-name/model.onnx", "org-name/config.json"}, "org-name", "", "org-name/model.onnx", "org-name", ""},
		"a folder with a file of another name": {[]string{"org-name/bert.onnx"}, "org-name", "", "org-name/bert.onnx", "org-name", ""},
		"a repository":                         {[]string{"org-name/onnx/model.onnx", "org-name/onnx/model_int8.onnx", "org-name/config.json"}, "org-name", "", "org-name/onnx/model.onnx", "org-name", "onnx/model_int8.onnx"},
		"its folder onnx/":                     {[]string{"org-name/onnx/model.onnx", "org-name/config.json"}, "org-name/onnx", "", "org-name/onnx/model.onnx", "org-name", ""},
		"the exact one":                        {[]string{"m/model_quantized.onnx", "m/model_fp16.onnx", "m/onnx/model.onnx", "m/model_O2.onnx"}, "m", "", "m/onnx/model.onnx", "m", "model_O2.onnx model_fp16.onnx model_quantized.onnx"},
		"only variants":                        {[]string{"m/model_q4.onnx", "m/model_quantized.onnx", "m/model_fp16.onnx"}, "m", "", "m/model_fp16.onnx", "m", "model_quantized.onnx model_q4.onnx"},
		"an encoder-decoder":                   {[]string{"m/decoder_model.onnx", "m/decoder_model_merged.onnx", "m/encoder_model.onnx"}, "m", "", "m/encoder_model.onnx", "m", "decoder_model.onnx decoder_model_merged.onnx"},
		"the nearest":                          {[]string{"m/a/model.onnx", "m/onnx/model.onnx", "m/model.onnx"}, "m", "", "m/model.onnx", "m", "onnx/model.onnx a/model.onnx"},
		"one that is named":                    {[]string{"m/onnx/model.onnx", "m/onnx/model_int8.onnx"}, "m", "onnx/model_int8.onnx", "m/onnx/model_int8.onnx", "m", "onnx/model.onnx"},
		"one that is named without its folder": {[]string{"m/onnx/model.onnx", "m/onnx/model_int8.onnx"}, "m", "model_int8.onnx", "m/onnx/model_int8.onnx", "m", "onnx/model.onnx"},
		"hidden folders are passed over":       {[]string{"m/.git/model.onnx", "m/onnx/model_O1.onnx"}, "m", "", "m/onnx/model_O1.onnx", "m", ""},
		"a module's own folder":                {[]string{"m/0_Transformer/onnx/model.onnx", `m/modules.json=[{"path": "0_Transformer", "type": "sentence_transformers.models.Transformer"}]`}, "m/0_Transformer/onnx/model.onnx", "", "m/0_Transformer/onnx/model.onnx", "m", ""},
		"a Hub's cache":                        {[]string{hub + "/onnx/model.onnx", hub + "/config.json"}, hub + "/onnx/model.onnx", "", hub + "/onnx/model.onnx", "a-model", ""},
		"a snapshot":                           {[]string{hub + "/onnx/model.onnx", hub + "/config.json"}, hub, "", hub + "/onnx/model.onnx", "a-model", ""},
		"a Hub's folder for a model":           {[]string{hub + "/onnx/model.onnx"}, "models--some-org--a-model", "", hub + "/onnx/model.onnx", "a-model", ""},
		"a Hub's folder with two snapshots": {[]string{hub + "/model.onnx", "models--some-org--a-model/snapshots/ff/model.onnx", "models--some-org--a-model/refs/main=0a1b2c\n"},
			"models--some-org--a-model", "", hub + "/model.onnx", "a-model", ""},
	} {
		dir := t.TempDir()
		lay(t, dir, c.files...)
		m, err := modelfolder.Find(filepath.Join(dir, c.path), c.file)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if m.Path != filepath.Join(dir, c.model) || m.Name != c.name || strings.Join(m.Others, " ") != c.more {
			t.Errorf("%s: %s, %q, others %v", what, m.Path, m.Name, m.Others)
		}
	}
}

func TestPathsMayBeRelative(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "org-name")
	lay(t, dir, "onnx/model.onnx", "tokenizer.json", "config.json")
	for _, c := range [][3]string{
		{"", ".", "onnx/model.onnx"},
		{"onnx", "model.onnx", "model.onnx"},
		{"onnx", ".", "model.onnx"},
		{"onnx", "..", "../onnx/model.onnx"},
		{"onnx", "../onnx/model.onnx", "../onnx/model.onnx"},
	} {
		t.Chdir(filepath.Join(dir, c[0]))
		m, err := modelfolder.Find(c[1], "")
		if err != nil || m.Path != c[2] || m.Name != "org-name" {
			t.Errorf("%v: %+v, %v", c, m, err)
			continue
		}
		if found, err := m.Texts(); err != nil || len(found.Files) != 2 {
			t.Errorf("%v: %+v, %v", c, found, err)
		}
	}
}

func TestWhatIsNoModelIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lay(t, dir, "two/a/model.onnx", "two/b/model.onnx", "empty/readme", "torch/model.safetensors", "one.onnx")
	lay(t, dir, "models--o--n/snapshots/1/model.onnx", "models--o--n/snapshots/2/model.onnx")
	for _, c := range []struct{ path, file, says string }{
		{"none.onnx", "", "there is no file"},
		{"empty", "", "holds no .onnx file"},
		{"torch", "", "only model.safetensors"},
		{"two", "model.onnx", `more than one "model.onnx"; there is a/model.onnx, b/model.onnx`},
		{"two", "c.onnx", `no "c.onnx"; there is a/model.onnx, b/model.onnx`},
		{"two", "../one.onnx", `no "../one.onnx"`},
		{"one.onnx", "model.onnx", "is a file"},
		{"models--o--n", "", "2 snapshots"},
	} {
		if _, err := modelfolder.Find(filepath.Join(dir, c.path), c.file); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s %s: %v", c.path, c.file, err)
		}
	}
}

// texts are the files that a model's folder has, as "name in the bundle<path".
func texts(t *testing.T, dir, path string) (*modelfolder.Texts, string) {
	t.Helper()
	m, err := modelfolder.Find(filepath.Join(dir, path), "")
	if err != nil {
		t.Fatal(err)
	}
	found, err := m.Texts()
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, f := range found.Files {
		from, err := filepath.Rel(dir, f.From)
		if err != nil {
			t.Fatal(err)
		}
		if from != f.Name {
			f.Name += "<" + from
		}
		list = append(list, f.Name)
	}
	slices.Sort(list)
	return found, strings.Join(list, " ")
}

func TestFilesThatBelongTogetherComeFromOneFolder(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		files []string
		model string
		want  string
	}{
		"beside the model": {[]string{"config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"}, "model.onnx",
			"config.json special_tokens_map.json tokenizer.json tokenizer_config.json"},
		"above onnx/": {[]string{"config.json", "tokenizer.json", "tokenizer_config.json", modules, "1_Pooling/config.json", "sentence_bert_config.json", "config_sentence_transformers.json"}, "onnx/model.onnx",
			"1_Pooling.config.json<1_Pooling/config.json config.json config_sentence_transformers.json modules.json sentence_bert_config.json tokenizer.json tokenizer_config.json"},
		"copies beside the model count for more": {[]string{"config.json", "tokenizer.json", "tokenizer_config.json", "onnx/config.json", "onnx/tokenizer.json", modules, "1_Pooling/config.json"}, "onnx/model.onnx",
			"1_Pooling.config.json<1_Pooling/config.json config.json<onnx/config.json modules.json tokenizer.json<onnx/tokenizer.json"},
		"one copy": {[]string{"config.json", "tokenizer.json", "tokenizer_config.json", "onnx/config.json"}, "onnx/model.onnx",
			"config.json<onnx/config.json tokenizer.json tokenizer_config.json"},
		"not above any other folder": {[]string{"config.json", "tokenizer.json"}, "other/model.onnx", ""},
		"modules with weights": {[]string{modules, "more/2_Dense/config.json", "more/2_Dense/model.safetensors", "more/2_Dense/pytorch_model.bin", "3_Normalize/pytorch_model.bin"}, "model.onnx",
			"modules.json more-2f2_Dense.config.json<more/2_Dense/config.json more-2f2_Dense.model.safetensors<more/2_Dense/model.safetensors"},
		"older weights": {[]string{modules, "more/2_Dense/pytorch_model.bin"}, "model.onnx",
			"modules.json more-2f2_Dense.pytorch_model.bin<more/2_Dense/pytorch_model.bin"},
		"an older name of the length": {[]string{"sentence_xlnet_config.json", "sentence_roberta_config.json"}, "model.onnx",
			"sentence_bert_config.json<sentence_roberta_config.json"},
		"a first module in a folder": {[]string{`modules.json=[{"path": "0_BERT", "type": "sentence_transformers.models.Transformer"}, {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]`,
			"0_BERT/config.json", "0_BERT/tokenizer.json", "0_BERT/sentence_bert_config.json", "1_Pooling/config.json"}, "onnx/model.onnx",
			"1_Pooling.config.json<1_Pooling/config.json config.json<0_BERT/config.json modules.json sentence_bert_config.json<0_BERT/sentence_bert_config.json tokenizer.json<0_BERT/tokenizer.json"},
	} {
		dir := t.TempDir()
		lay(t, dir, append(c.files, c.model)...)
		if _, got := texts(t, dir, c.model); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", what, got, c.want)
		}
	}
}

// A folder that was given counts as the repository, whatever the folders in it are called.
func TestFilesOfTheGivenFolderAreTaken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lay(t, dir, "config.json", "tokenizer.json", "quantised/deep/model.onnx")
	if found, got := texts(t, dir, "."); got != "config.json tokenizer.json" || len(found.LookedIn) != 3 {
		t.Errorf("%s, looked in %v", got, found.LookedIn)
	}
}

func TestMissingFilesAreToldApart(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		files []string
		bare  bool
		says  string
	}{
		"nothing":             {nil, true, "no tokenizer.json in "},
		"only a config":       {[]string{"config.json={}"}, false, "no tokenizer.json in "},
		"only a tokenizer":    {[]string{"tokenizer.json={}"}, false, "no config.json in "},
		"an older form":       {[]string{"config.json={}", "vocab.txt"}, false, "older form (vocab.txt)"},
		"another older form":  {[]string{"config.json={}", "spiece.model"}, false, "older form (spiece.model)"},
		"only an older form":  {[]string{"sentencepiece.bpe.model"}, false, "older form (sentencepiece.bpe.model)"},
		"no fast form":        {[]string{`config.json={"model_type": "canine"}`}, false, "CanineTokenizer has no fast form"},
		"no fast form, named": {[]string{`config.json={"model_type": "t5"}`, `tokenizer_config.json={"tokenizer_class": "ByT5Tokenizer"}`}, false, "ByT5Tokenizer has no fast form"},
		"a fast form of a slow type": {[]string{`config.json={"model_type": "esm"}`, `tokenizer_config.json={"tokenizer_class": "BertTokenizer"}`}, false,
			"older form (tokenizer_config.json)"},
		"all": {[]string{"config.json={}", "tokenizer.json={}"}, false, ""},
	} {
		dir := t.TempDir()
		lay(t, dir, append(c.files, "model.onnx")...)
		found, _ := texts(t, dir, "model.onnx")
		err := found.Missing()
		if found.Bare() != c.bare || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: bare %v, %v", what, found.Bare(), err)
		}
	}
}

// Links are followed where they stay inside: in a Hub's cache, every file is one.
func TestLinksLeadNowhereElse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const hub = "models--o--n/snapshots/1"
	lay(t, dir, "models--o--n/blobs/aa={}", "models--o--n/blobs/bb=model", "secret", "plain/model.onnx", "plain/real.json={}", hub+"/onnx/.keep")
	for link, to := range map[string]string{
		hub + "/config.json":     "../../blobs/aa",
		hub + "/onnx/model.onnx": "../../../blobs/bb",
		"plain/config.json":      "real.json",
	} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if _, got := texts(t, dir, hub); got != "config.json<"+hub+"/config.json" {
		t.Errorf("a Hub's cache: %s", got)
	}
	if _, got := texts(t, dir, "plain"); got != "config.json<plain/config.json" {
		t.Errorf("a link inside: %s", got)
	}
	for what, link := range map[string]string{"up": "../secret", "absolute": filepath.Join(dir, "secret"), "nothing": "gone"} {
		folder := filepath.Join(dir, what)
		lay(t, folder, "model.onnx")
		if err := os.Symlink(link, filepath.Join(folder, "tokenizer.json")); err != nil {
			t.Fatal(err)
		}
		refused(t, what, folder, "tokenizer.json is a link")
	}
}

func refused(t *testing.T, what, folder, says string) {
	t.Helper()
	m, err := modelfolder.Find(folder, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Texts(); err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("%s: %v", what, err)
	}
}

func TestModulesCannotNameFilesElsewhere(t *testing.T) {
	t.Parallel()
	for what, c := range map[string][2]string{
		"a way up":          {`[{"path": "../secret", "type": "Dense"}]`, "leads out"},
		"an absolute path":  {`[{"path": "/etc", "type": "Dense"}]`, "leads out"},
		"no list":           {`{}`, "modules.json"},
		"too many":          {"[" + strings.Repeat("{},", 64) + "{}]", "65 modules"},
		"no text as a path": {`[{"path": 1}]`, "modules.json"},
		"a large file":      {strings.Repeat(" ", 1<<20) + "[]", "more than the 1 MB"},
	} {
		dir := t.TempDir()
		lay(t, dir, "model.onnx", "modules.json="+c[0])
		refused(t, what, dir, c[1])
	}
	dir := t.TempDir()
	lay(t, dir, "model.onnx")
	if err := unix.Mkfifo(filepath.Join(dir, "config.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, "a pipe", dir, "not a regular file")
	large := t.TempDir()
	lay(t, large, "model.onnx", "tokenizer.json")
	if err := os.Truncate(filepath.Join(large, "tokenizer.json"), 64<<20+1); err != nil {
		t.Fatal(err)
	}
	refused(t, "a large tokenizer", large, "more than the 64 MB")
}

func TestNamesFitIntoURLs(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a", "sst2-minilm", "Model_v1.5"} {
		if err := modelfolder.CheckName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "a/b", "..", ".a", "-a", "a b", "ä", "a\n", strings.Repeat("a", 129)} {
		if err := modelfolder.CheckName(name); !errors.As(err, new(*modelfolder.NameError)) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
