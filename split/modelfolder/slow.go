package modelfolder

import (
	"bytes"
	"maps"
	"slices"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/strictjson"
)

// slowOnly are the model types whose tokenizers transformers 4 and 5 have in Python only, so that
// no tokenizer.json can be made of them, with the classes. scripts/task-oracle/slow.py lists them.
var slowOnly = map[string]string{
	"bartpho": "BartphoTokenizer", "bert-japanese": "BertJapaneseTokenizer", "bertweet": "BertweetTokenizer", "biogpt": "BioGptTokenizer",
	"blenderbot-small": "BlenderbotSmallTokenizer", "byt5": "ByT5Tokenizer", "canine": "CanineTokenizer", "clvp": "ClvpTokenizer",
	"cpmant": "CpmAntTokenizer", "ctrl": "CTRLTokenizer", "dia": "DiaTokenizer", "esm": "EsmTokenizer", "flaubert": "FlaubertTokenizer",
	"fsmt": "FSMTTokenizer", "gpt_neox_japanese": "GPTNeoXJapaneseTokenizer", "jukebox": "JukeboxTokenizer", "m2m_100": "M2M100Tokenizer",
	"marian": "MarianTokenizer", "mgp-str": "MgpstrTokenizer", "mluke": "MLukeTokenizer", "myt5": "MyT5Tokenizer", "perceiver": "PerceiverTokenizer",
	"phobert": "PhobertTokenizer", "plbart": "PLBartTokenizer", "prophetnet": "ProphetNetTokenizer", "rag": "RagTokenizer",
	"roc_bert": "RoCBertTokenizer", "speech_to_text": "Speech2TextTokenizer", "tapas": "TapasTokenizer", "tapex": "TapexTokenizer",
	"transfo-xl": "TransfoXLTokenizer", "vits": "VitsTokenizer", "wav2vec2": "Wav2Vec2CTCTokenizer", "xlm": "XLMTokenizer",
	"xlm-prophetnet": "XLMProphetNetTokenizer",
}

// slowOnly is the class of the model's tokenizer when there is no fast form of it, or "". As for
// transformers, the class in tokenizer_config.json counts for more than the model's type.
func (t *Texts) slowOnly() string {
	for _, file := range []string{bundle.TokenizerConfigName, bundle.ConfigName} {
		if class := t.key(file, "tokenizer_class"); class != "" {
			if slices.Contains(slices.Collect(maps.Values(slowOnly)), class) {
				return class
			}
			return ""
		}
	}
	return slowOnly[t.key(bundle.ConfigName, "model_type")]
}

// key is a text in a file of JSON, or "".
func (t *Texts) key(file, key string) string {
	value, err := strictjson.PythonFile(bytes.NewReader(t.data(file)))
	if err != nil {
		return ""
	}
	o, err := value.Object()
	if err != nil {
		return ""
	}
	v, ok := o.Optional(key)
	if !ok {
		return ""
	}
	s, _ := v.Text()
	return s
}
