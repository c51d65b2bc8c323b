"""Random tokenizer.json files: components in combinations nobody would choose."""

import json
import random

from tokenizers import Tokenizer

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

    def flip(self, p=0.5):
        return self.rng.random() < p

    def pick(self, of):
        return self.rng.choice(of)

    def pattern(self):
        return {"Regex": self.pick(REGEXES)} if self.flip() else {"String": self.pick(STRINGS)}

    def normalizer(self, depth=0):
        k = self.rng.randrange(12 if depth < 2 else 11)
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
        return {"type": "Sequence", "normalizers": [self.normalizer(depth + 1) for _ in range(self.rng.randrange(5))]}

    def pre_tokenizer(self, depth=0):
        k = self.rng.randrange(9 if depth < 2 else 8)
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
        one = template(*pieces, special={"[CLS]": [2], "[SEP]": [3, 4]})
        chain = {"type": "Sequence", "processors": self.wrappers() + ([one] if self.flip(0.6) else []) + self.wrappers()}
        return self.pick([None, self.wrapper(), one, chain])

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

    def file(self):
        normalizer = self.normalizer() if self.flip(0.9) else None
        length = {"strategy": self.pick(["LongestFirst", "OnlyFirst"]), "stride": self.pick([0, 2]), "direction": self.pick(["Left", "Right"])}
        return file(
            normalizer=normalizer,
            pre_tokenizer=self.pre_tokenizer() if self.flip(0.9) else None,
            post_processor=self.post_processor(),
            added_tokens=self.added_tokens(normalizer),
            padding=self.pick([None, padding(pad_to_multiple_of=self.pick([None, 4]), direction=self.pick(["Left", "Right"]), pad_id=5, pad_type_id=3), padding({"Fixed": self.pick([0, 3, 12])})]),
            truncation=self.pick([None, truncation(self.pick([60, 80]), **length)]),
            model=self.pick([
                word_piece(), word_piece(max_input_chars_per_word=3), word_piece(continuing_subword_prefix="", vocab=vocabulary("")),
                {"type": "WordLevel", "unk_token": "[UNK]", "vocab": vocabulary()},
            ]),
        )


def configs(seed, n=250):
    generator = Generator(seed)
    return {f"random-{i}": generator.file() for i in range(n)}
