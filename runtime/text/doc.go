// Package text is both ends of a text classifier: it turns text into the token ids
// that a model reads, and a model's logits into labels.
//
// # Text to ids
//
// [LoadTokenizer] reads a tokenizer.json as Hugging Face writes it and
// [Tokenizer.Encode] answers exactly what the Rust library behind it
// (huggingface/tokenizers, Apache-2.0, whose algorithms this package follows)
// answers: the same ids, type ids, masks and tokens for every text, including
// text nobody would write. That library takes its Unicode data from crates of
// different Unicode versions, so neither the unicode package nor golang.org/x/text
// would do: the tables here were read off the library itself, code point by
// code point (scripts/tokenizer-oracle). Tests compare with its answers.
//
// Whatever this package does not know is refused when the file is loaded, by name and
// place; nothing is approximated.
//
//	models           BPE (without dropout), Unigram, WordPiece, WordLevel
//	normalizers      BertNormalizer, Lowercase, StripAccents, NFC, NFD, NFKC, NFKD,
//	                 Nmt, Precompiled, ByteLevel, Strip, Replace, Prepend, Sequence
//	pre-tokenizers   BertPreTokenizer, ByteLevel, Metaspace, Whitespace,
//	                 WhitespaceSplit, Punctuation, Digits, Split, CharDelimiterSplit,
//	                 Sequence
//	post-processors  BertProcessing, RobertaProcessing, ByteLevel,
//	                 TemplateProcessing, Sequence
//	decoders         WordPiece, ByteLevel, Metaspace, BPEDecoder, ByteFallback, Fuse,
//	                 Replace, Strip, Sequence
//
// Between them they are the tokenizers of BERT, DistilBERT, MiniLM and ELECTRA
// (WordPiece), of RoBERTa, GPT-2, BART and ModernBERT (BPE of bytes), of XLM-R,
// ALBERT, DeBERTa v3, T5 and multilingual E5 (Unigram), and of Llama as far as
// SentencePiece made it (BPE of characters). So are those of Llama 3, GPT-4o, Qwen,
// DeepSeek, Mistral Nemo and Gemma. Regexes with look-around or possessive repeats are
// accepted where Go's regexp can be made to follow them exactly (regex.go), and refused
// elsewhere.
//
// [Tokenizer.EncodePair] reads two texts as one, with the truncation strategies and
// templates for that. [Tokenizer.EncodeOffsets] also gives the range of the text that
// each token stands for, as the library does.
//
// The file's decoder section turns tokens back into text, which only some tasks
// need. An unknown one is an error of [Tokenizer.Joiner] only.
//
// # Invalid UTF-8
//
// Text that is not valid UTF-8 is not refused. Every maximal subpart of an
// ill-formed sequence becomes one U+FFFD, as the Unicode standard recommends
// (section 3.9, "U+FFFD Substitution of Maximal Subparts") and as Python's
// bytes.decode("utf-8", "replace") does.
//
// # Logits to labels
//
// [LoadConfig] reads what a model's config.json says of its labels and
// [Config.Results] scores logits as the text-classification pipeline of Hugging
// Face's transformers does.
//
// # What this package must not know
//
// It knows nothing of ONNX Runtime, of gRPC or HTTP, or of how a model is
// split. It takes readers and strings and answers plain slices.
//
// Everything loaded is immutable and safe for concurrent use.
package text
