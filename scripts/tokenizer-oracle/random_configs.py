"""Random tokenizer.json files: components in combinations nobody would choose."""

import base64
import json
import random

from tokenizers import Tokenizer

import families
from configs import SPECIALS, added, file, padding, template, truncation, vocabulary, word_piece

REGEXES = [
    r"\s+", r"[^\p{L}\p{N}\p{P} ]{2,}", r"\w", r"\W+", r"[\w]+", r"\p{Lu}\p{Ll}*", r"\d{2,3}?x?y|[a-c]", r"(?:ab|a)(?:c|bcd)?e", r"\p{S}|\p{M}",
    r"[^\s]", r".", r"..", r"(e|é|中)+?\S", r"[\-a\]]", r"\p{Cf}+", r"[\P{L}]{1,2}", r"[^\W\d]+",
]
STRINGS = ["a", "e", " ", "the", "é", "\u0301", "  ", "中", "##", ".", "[", "\n", "aa", "ﬁ", "\u200b"]
CONTENTS = ["", "x", "é", " ", "  ", "ﬁ", "A\u0323\u0307", "\u0301", "中"]
ADDED = ["the", "tok", "<tok>", "Émile", "émi", "New Tok", "newtok", "中", "a", "[", "<l>", "\u0301x", "film", "Film", "ab c"]
BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]


class Generator:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.charsmap = base64.b64encode(families.nmt_nfkc()).decode()

    def flip(self, p=0.5):
        return self.rng.random() < p

    def pick(self, of):
        return self.rng.choice(of)

    def pattern(self):
        return {"Regex": self.pick(REGEXES)} if self.flip() else {"String": self.pick(STRINGS)}

    def normalizer(self, depth=0):
        k = self.rng.randrange(15 if depth < 2 else 14)
        if k == 0:
            return {
                "type": "BertNormalizer", "clean_text": self.flip(), "handle_chinese_chars": self.flip(),
                "strip_accents": self.pick([None, True, False]), "lowercase": self.flip(),
            }
        if k <= 6:
            return {"type": ["Lowercase", "StripAccents", "NFC", "NFD", "NFKC", "NFKD"][k - 1]}
        if k == 7:
            return {"type": "Strip", "strip_left": self.flip(), "strip_right": self.flip()}
        if k <= 9:
            return {"type": "Replace", "pattern": self.pattern(), "content": self.pick(CONTENTS)}
        if k == 10:
            return {"type": "Prepend", "prepend": self.pick(["▁", " ", "É", "\u0301", "[CLS]", "ab "])}
        if k == 11:
            return {"type": "Nmt"}
        if k == 12:
            return {"type": "ByteLevel"}
        if k == 13:
            return {"type": "Precompiled", "precompiled_charsmap": self.charsmap}
        return {"type": "Sequence", "normalizers": [self.normalizer(depth + 1) for _ in range(self.rng.randrange(5))]}

    def pre_tokenizer(self, depth=0):
        k = self.rng.randrange(11 if depth < 2 else 10)
        if k <= 2:
            return {"type": ["BertPreTokenizer", "Whitespace", "WhitespaceSplit"][k]}
        if k == 3:
            return {"type": "Punctuation", "behavior": self.pick(BEHAVIORS)}
        if k == 4:
            return {"type": "Digits", "individual_digits": self.flip()}
        if k <= 6:
            return {"type": "Split", "pattern": self.pattern(), "behavior": self.pick(BEHAVIORS), "invert": self.flip()}
        if k == 7:
            return {"type": "CharDelimiterSplit", "delimiter": self.pick([" ", "a", "é", "中", "\u0301"])}
        if k == 8:
            return {"type": "ByteLevel", "add_prefix_space": self.flip(), "trim_offsets": self.flip(), "use_regex": self.flip(0.7)}
        if k == 9:
            return {"type": "Metaspace", "replacement": self.pick(["▁", "▁", "_", "é", "😀"]), "prepend_scheme": self.pick(["always", "first", "never"]), "split": self.flip()}
        return {"type": "Sequence", "pretokenizers": [self.pre_tokenizer(depth + 1) for _ in range(self.rng.randrange(5))]}

    def wrapper(self):
        p = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
        if self.flip():
            p |= {"type": "RobertaProcessing", "trim_offsets": self.flip(), "add_prefix_space": self.flip()}
        return p

    def wrappers(self):
        return [self.wrapper() for _ in range(self.rng.randrange(3))]

    def post_processor(self):
        pieces = [self.pick(["A", "A:1", "[CLS]", "[SEP]:2", "[SEP]"]) for _ in range(self.rng.randrange(1, 5))]
        level = {"type": "ByteLevel", "add_prefix_space": self.flip(), "trim_offsets": self.flip(0.8), "use_regex": True}
        one = template(*pieces, special={"[CLS]": [2], "[SEP]": [3, 4]})
        chain = {"type": "Sequence", "processors": self.wrappers() + ([one] if self.flip(0.6) else []) + ([level] if self.flip(0.3) else []) + self.wrappers()}
        return self.pick([None, self.wrapper(), one, level, chain])

    def added_tokens(self, normalizer):
        """Without those the library cannot cope with: empty, or equal, once normalised."""
        out = SPECIALS if self.flip(0.7) else []
        plain = Tokenizer.from_str(json.dumps(file(normalizer=normalizer, added_tokens=[]))).normalizer
        seen = set()
        for content in self.rng.sample(ADDED, self.rng.randrange(6)):
            t = added(content, **{k: self.flip(0.4) for k in ["single_word", "lstrip", "rstrip", "normalized", "special"]})
            pattern = plain.normalize_str(content) if plain and t["normalized"] else content
            if pattern and (t["normalized"], pattern) not in seen:
                seen.add((t["normalized"], pattern))
                out = out + [t]
        return out

    def some_bytes(self):
        return [f"<0x{b:02X}>" for b in range(256) if self.flip(self.pick([1, 0.99]))] if self.flip() else []

    def bpe(self):
        prefix, suffix = self.pick(["", "", "##"]), self.pick(["", "", "</w>"])
        letters = "etaoinsrhldcumfgp.,'Ġ▁éÃ©ä中 _"
        vocab = ["[UNK]", "[CLS]", "[SEP]"] + [a + c + b for c in letters for a in {"", prefix} for b in {"", suffix}] + self.some_bytes()
        merges = []
        for _ in range(200):
            left, right = self.pick(vocab[3:]), self.pick(vocab[3:])
            if right.startswith(prefix) and not left.startswith("<0") and not right.startswith("<0"):
                merges.append([left, right])
                vocab.append(left + right[len(prefix):])
        if self.flip():
            vocab.remove("[UNK]")
        if merges and all(" " not in part for m in merges for part in m) and self.flip():
            merges = [" ".join(m) for m in merges]
        return {
            "type": "BPE", "dropout": None, "unk_token": "[UNK]" if vocab[0] == "[UNK]" and self.flip() else None, "continuing_subword_prefix": prefix or None,
            "end_of_word_suffix": suffix or None, "fuse_unk": self.flip(), "byte_fallback": self.flip(), "ignore_merges": self.flip(0.3),
            "vocab": {t: i for i, t in enumerate(dict.fromkeys(vocab))}, "merges": merges,
        }

    def unigram(self):
        letters = "etaoinsrhldcumfgp.,'Ġ▁éÃ©ä中 _"
        vocab = ["[UNK]", "[CLS]", "[SEP]"] + [c for c in letters if self.flip(0.9)] + self.some_bytes()
        vocab += ["".join(self.rng.choices(letters, k=self.rng.randint(2, 6))) for _ in range(200)] + ["the", "▁the", "ing", "▁film", "Ġof", "xyz", "中中"]
        whole = self.flip()  # scores that make for many equal sums
        return {
            "type": "Unigram", "unk_id": self.pick([0, 0, 0, None]), "byte_fallback": self.flip(),
            "vocab": [[t, float(-self.rng.randint(0, 4)) if whole else -self.rng.random() * 12] for t in dict.fromkeys(vocab)],
        }

    def file(self):
        normalizer = self.normalizer() if self.flip(0.9) else None
        length = {"strategy": self.pick(["LongestFirst", "LongestFirst", "OnlyFirst", "OnlySecond"]), "stride": self.pick([0, 2]), "direction": self.pick(["Left", "Right"])}
        return file(
            normalizer=normalizer,
            pre_tokenizer=self.pre_tokenizer() if self.flip(0.9) else None,
            post_processor=self.post_processor(),
            added_tokens=self.added_tokens(normalizer),
            padding=self.pick([None, padding(pad_to_multiple_of=self.pick([None, 4]), direction=self.pick(["Left", "Right"]), pad_id=5, pad_type_id=3), padding({"Fixed": self.pick([0, 3, 12])})]),
            truncation=self.pick([None, truncation(self.pick([20, 61, 80]), **length)]),
            model=self.pick([
                word_piece(), word_piece(max_input_chars_per_word=3), word_piece(continuing_subword_prefix="", vocab=vocabulary("")),
                {"type": "WordLevel", "unk_token": "[UNK]", "vocab": vocabulary()}, self.bpe(), self.bpe(), self.unigram(), self.unigram(),
            ]),
        )


def configs(seed, n=250):
    generator = Generator(seed)
    return {f"random-{i}": generator.file() for i in range(n)}
