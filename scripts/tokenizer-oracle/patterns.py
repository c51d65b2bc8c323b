"""Where patterns of language models split texts, those with look-ahead and (?i:…)."""

from tokenizers import Regex, pre_tokenizers

LAST = r"|\s+(?!\S)|\s+"
MARKS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
PATTERNS = {
    "GPT-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+" + LAST,
    "Llama 3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + MARKS + LAST,
    "Qwen 2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + MARKS + LAST,
    "other letters": r"(?i:k's|Az|dZ)|[a-c]+ " + LAST,
}
MORE = ["I'LL say it\u017f 'S 'ſ DON'T 'Ve", "a  b", "a   b  ", "   a", "  ", "a \n b", "a\n\n  b\n", "\u00a0\u3000x\u2003\u2003y", "12345 67", "a \u200b b", "\u212a's K's AZ aZ Dz ǆ", " \x85 \x1c x"]


def split(texts):
    """The pieces of each text by each pattern, as their lengths in code points, after one another."""
    some = [t for t in [*MORE, *texts[::5]] if 0 < len(t) < 400]
    found = {}
    for name, pattern in PATTERNS.items():
        step = pre_tokenizers.Split(Regex(pattern), "isolated")
        found[name] = {"pattern": pattern, "lengths": [[len(piece) for piece, _ in step.pre_tokenize_str(t)] for t in some]}
    return {"texts": some, "patterns": found}
