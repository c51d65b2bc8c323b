"""Where patterns of language models split texts, and those with what is rare in patterns."""

from tokenizers import Regex, pre_tokenizers

LAST = r"|\s+(?!\S)|\s+"
MARKS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
FOLDED = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
BEFORE = r"[^\r\n\p{L}\p{N}]?"
NO_HAN = ["[" + c + "&&[^\\p{Han}]]" for c in (r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}")]

# After whose tokenizer.json, or whose code, they are made; of DeepSeek LLM's letters only some.
PATTERNS = {
    "GPT-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+" + LAST,
    "GPT-2 in tiktoken": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    "Llama 3, GPT-4": FOLDED + "|" + BEFORE + r"\p{L}+|\p{N}{1,3}" + MARKS + LAST,
    "GPT-4 in minbpe": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    "GPT-4 in tiktoken": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    "GPT-4o": f"{BEFORE}{UPPER}*{LOWER}+{FOLDED}?|{BEFORE}{UPPER}+{LOWER}*{FOLDED}?" + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+" + LAST,
    "Mistral Nemo": f"{BEFORE}{UPPER}*{LOWER}+|{BEFORE}{UPPER}+{LOWER}*" + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+" + LAST,
    "Qwen 2": FOLDED + "|" + BEFORE + r"\p{L}+|\p{N}" + MARKS + LAST,
    "Qwen 3.5": FOLDED + "|" + BEFORE + r"[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+" + LAST,
    "DeepSeek V3": "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+" + LAST,
    "DeepSeek LLM, spaces": r"\s+$",
    "DeepSeek LLM, letters": r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳΑ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-ᏵḀ-ἕℊ-ℓⰀ-ⱻꙀ-ꙭﬀ-ﬆＡ-Ｚａ-ｚ]+",
    "DeepSeek LLM, marks": r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
    "BLOOM": r" ?[^(\s|[.,!?…。，、।۔،])]+",
    "Falcon": r"[0-9][0-9][0-9]",
    "CLIP": r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    "Kimi K2": rf"[\p{{Han}}]+|{BEFORE}{NO_HAN[0]}*{NO_HAN[1]}+{FOLDED}?|{BEFORE}{NO_HAN[0]}+{NO_HAN[1]}*{FOLDED}?" + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+" + LAST,
    "other letters": r"(?i:k's|Az|dZ)|[a-c]+ " + LAST,
    "a class of letters of either case": r"'(?i:[skt][fi]|[a]b)|x",
    "possessive": r"[ab]++c|[ab]?+[cd]++|\s*+\S",
    "repeats of repeats": r"a{1,3}+b|\p{N}{2}+|[ .]{2,}+x",
    "the end of a line": r"[a-e]$|\.++$|\s++$|\w+\n$",
    "classes in classes": r"[^a-m[.,][^\P{L}]]|[a-p&&[^c-e]&&\p{L}]+|[\p{Han}é-]",
    "classes from which is taken": r"[^\p{L}&&\P{Lu}]+|[\w&&[^\d_]]{2}",
}
MORE = [
    "I'LL say it\u017f 'S 'ſ DON'T 'Ve", "a  b", "a   b  ", "   a", "  ", "a \n b", "a\n\n  b\n", "\u00a0\u3000x\u2003\u2003y", "12345 67", "a \u200b b", "\u212a's K's AZ aZ Dz ǆ", " \x85 \x1c x",
    "aab abc aabbcc bcd aad abab", "aaaaaaab ab aaab 123456789 1234567 ....x ..x  .x", "a\nb \n c. ..\nd...\n\ne\r\n", "x \n \n", "x\n \n\n ", "\n", " \n", "ab\n\n", "'kf 'Sï 'tI 'ſF 'Ab 'ﬁ 'ß 'ﬆ 'st 'ſt x",
    "(a|b) [c], d! e? f… 。，、 g। h۔ i،", "東京タワーは1958年に完成した。HTMLとCSSを学ぶ", "中a文B字é漢-〇々〆", "HelloWorld helloWorld HELLOWorld'LL ÉcoleX Ǆx ǅa ʰa", "path/to//\n/file\r\n\r\n", "\u0301a e\u0301X\u0301 \u0300",
]


def lengths(step, text):
    """The lengths of the pieces in code points, or None where Oniguruma gives up."""
    try:
        return [len(piece) for piece, _ in step.pre_tokenize_str(text)]
    except BaseException as e:  # a panic of the Rust code is not an Exception
        if isinstance(e, (KeyboardInterrupt, SystemExit)):
            raise
        return None


def split(texts):
    """The lengths of the pieces of each text by each pattern."""
    some = [t for t in [*MORE, *texts[::5]] if 0 < len(t) < 400]
    found = {}
    for name, pattern in PATTERNS.items():
        step = pre_tokenizers.Split(Regex(pattern), "isolated")
        found[name] = {"pattern": pattern, "lengths": [lengths(step, t) for t in some]}
    return {"texts": some, "patterns": found}
