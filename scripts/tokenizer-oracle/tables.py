"""Writes runtime/text/tables.go from the oracle.

Hugging Face's tokenizers take their Unicode data from several Rust crates of
different Unicode versions (normalisation: 9.0, categories: 8.0, the standard
library and the regex crate: newer, Oniguruma: its own). So no Unicode file is
read here: every code point is put to the oracle itself, and what it does with
it becomes the table.

    pip install --no-deps --require-hashes -r requirements.txt
    python tables.py ../../runtime/text/tables.go
"""

import sys

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

import graphemes

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]

# Bits of the property word, in the order of the constants in unicode.go.
SPACE, REMOVE, PUNCT, NUMERIC, WORD, MN, MARK, LOWER, CANON, COMPAT, LETTER, NUMBER, BLANK = (1 << i for i in range(13))

HANGUL = range(0xAC00, 0xAC00 + 11172)


def probe(normalizer, predicate):
    f = normalizer.normalize_str
    return {c for c in CODE_POINTS if predicate(chr(c), f(chr(c)))}


def pieces(pre, text):
    return [p for p, _ in pre.pre_tokenize_str(text)]


def bert(**options):
    base = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    base.update(options)
    return normalizers.BertNormalizer(**base)


def properties():
    """Code point -> bits; and the mappings behind LOWER, CANON and COMPAT."""
    sets = {}
    sets[SPACE] = probe(normalizers.Strip(), lambda c, out: out == "")
    split = pre_tokenizers.WhitespaceSplit()
    for c in CODE_POINTS:
        if (len(pieces(split, "a" + chr(c) + "a")) == 2) != (c in sets[SPACE]):
            raise SystemExit(f"U+{c:04X}: Strip and WhitespaceSplit differ")
    # Cleaning drops a character, or turns it into a space, or keeps it.
    clean = bert(clean_text=True)
    sets[REMOVE] = probe(clean, lambda c, out: out == "")
    for c in CODE_POINTS:
        if c not in sets[REMOVE]:
            want = " " if c in sets[SPACE] else chr(c)
            if clean.normalize_str(chr(c)) != want:
                raise SystemExit(f"U+{c:04X}: cleaning gives something unforeseen")
    punct = pre_tokenizers.Punctuation()
    sets[PUNCT] = {c for c in CODE_POINTS if len(pieces(punct, "a" + chr(c) + "a")) == 3}
    bertpre = pre_tokenizers.BertPreTokenizer()
    for c in CODE_POINTS:
        want = 3 if c in sets[PUNCT] else 2 if c in sets[SPACE] else 1
        if len(pieces(bertpre, "a" + chr(c) + "a")) != want:
            raise SystemExit(f"U+{c:04X}: BertPreTokenizer is not white space and punctuation")
    digits = pre_tokenizers.Digits(individual_digits=True)
    sets[NUMERIC] = {c for c in CODE_POINTS if len(pieces(digits, "a" + chr(c) + "a")) == 3}
    # Whitespace splits by \w+|[^\w\s]+ of the regex crate.
    whitespace = pre_tokenizers.Whitespace()
    sets[WORD] = set()
    for c in CODE_POINTS:
        n = len(pieces(whitespace, "a" + chr(c) + "a"))
        if n == 1:
            sets[WORD].add(c)
        if (n == 2) != (c in sets[SPACE]):
            raise SystemExit(f"U+{c:04X}: the regex crate's \\s is not char::is_whitespace")
    sets[MARK] = probe(normalizers.StripAccents(), lambda c, out: out == "")
    # The marks BertNormalizer strips are seen only where NFD keeps the character.
    nfd = normalizers.NFD()
    strip = bert(strip_accents=True)
    sets[MN] = probe(strip, lambda c, out: out == "" and len(nfd.normalize_str(c)) == 1 and nfd.normalize_str(c) == c)
    sets[MN] |= hidden_marks(nfd, strip, sets[MN])
    lower = {c: out for c in CODE_POINTS if (out := normalizers.Lowercase().normalize_str(chr(c))) != chr(c)}
    canon = {c: out for c in CODE_POINTS if c not in HANGUL and (out := nfd.normalize_str(chr(c))) != chr(c)}
    nfkd = normalizers.NFKD()
    compat = {
        c: out
        for c in CODE_POINTS
        if c not in HANGUL and (out := nfkd.normalize_str(chr(c))) != canon.get(c, chr(c))
    }
    sets[LOWER], sets[CANON], sets[COMPAT] = set(lower), set(canon), set(compat)
    bits = dict.fromkeys(CODE_POINTS, 0)
    for bit, members in sets.items():
        for c in members:
            bits[c] |= bit
    return bits, lower, canon, compat


def hidden_marks(nfd, strip, seen):
    """Marks with a decomposition of their own: never met after NFD, so left out; checked here."""
    for c in CODE_POINTS:
        full = nfd.normalize_str(chr(c))
        if strip.normalize_str(chr(c)) != "".join(d for d in full if ord(d) not in seen):
            raise SystemExit(f"U+{c:04X}: stripping accents is not NFD without Mn")
    return set()


def combining_classes():
    """Canonical combining classes, as far as the oracle orders by them.

    Two marks change places in NFD if the first has the higher class, so the
    relation of any two can be asked. Marks that never change places are of one
    class; classes are then numbered from 1 in their order, since only the
    order is ever used.
    """
    nfd = normalizers.NFD().normalize_str

    def swaps(a, b):
        full = nfd(a) + nfd(b)
        return nfd(a + b) != full

    low, high = "\u0334", "\u0345"  # the lowest and the highest class there is
    marks = []
    for c in map(chr, CODE_POINTS):
        if nfd(c) == c and (swaps(high, c) or swaps(c, low)):
            marks.append(c)
    for c in marks:
        if swaps(low, c) or swaps(c, high):
            raise SystemExit(f"U+{ord(c):04X}: beyond the lowest or highest class")
    marks.append(low) if low not in marks else None
    classes = []  # lists of marks, ascending
    for c in marks:
        for i, members in enumerate(classes):
            before, after = swaps(members[0], c), swaps(c, members[0])
            if not before and not after:
                members.append(c)
                break
            if before:  # c belongs in front
                classes.insert(i, [c])
                break
        else:
            classes.append([c])
    return {ord(c): i + 1 for i, members in enumerate(classes) for c in members}


def compositions(canon):
    """(first, second) -> composed, for every canonical pair that NFC puts together."""
    nfc = normalizers.NFC().normalize_str
    pairs = {}
    for c, full in canon.items():
        if nfc(chr(c)) != chr(c):
            continue
        a, b = nfc(full[:-1]), full[-1]
        if len(a) != 1 or nfc(a + b) != chr(c):
            raise SystemExit(f"U+{c:04X}: not composed of two")
        pairs[(ord(a), ord(b))] = c
    return pairs


CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co Cn".split()

SCRIPTS = ["Han"]  # of those, what patterns of language models have


def oniguruma():
    """Range lists of the character classes regexes may use, as Oniguruma has them."""
    names = {c: rf"\p{{{c}}}" for c in CATEGORIES + SCRIPTS}
    # Inside brackets \w is without U+00B2, U+00B3, U+00B9 and U+00BC to U+00BE.
    names |= {"w": r"\w", "s": r"\s", "d": r"\d", "[w]": r"[\w]"}
    found = {}
    for name, pattern in names.items():
        found[name] = sorted(probe(normalizers.Replace(Regex(pattern), ""), lambda c, out: out == ""))
    check_brackets(found)
    seen = set()
    for name in CATEGORIES:
        if seen & set(found[name]):
            raise SystemExit("categories overlap")
        seen |= set(found[name])
    if len(seen) != len(CODE_POINTS):
        raise SystemExit(f"{len(CODE_POINTS) - len(seen)} code points in no category")
    for group in "LMNPSZC":
        got = probe(normalizers.Replace(Regex(rf"\p{{{group}}}"), ""), lambda c, out: out == "")
        want = {c for name in CATEGORIES if name[0] == group for c in found[name]}
        if got != want:
            raise SystemExit(f"group {group} is not the union of its categories")
    dot = probe(normalizers.Replace(Regex("."), ""), lambda c, out: out == "")
    if set(CODE_POINTS) - dot != {0x0A}:
        raise SystemExit("the dot leaves out more than the line feed")
    return found


def check_brackets(found):
    """Classes mean the same inside brackets and out, negated or not (but for \\w, which see)."""
    everything = set(CODE_POINTS)
    for name in ["s", "d", "[w]"] + CATEGORIES + SCRIPTS:
        inner = rf"\{name.strip('[]')}" if len(name.strip("[]")) == 1 else rf"\p{{{name}}}"
        want = set(found[name])
        for pattern, members in [(f"[{inner}]", want), (f"[^{inner}]", everything - want)]:
            if probe(normalizers.Replace(Regex(pattern), ""), lambda c, out: out == "") != members:
                raise SystemExit(f"{pattern} is not what {inner} is")
    for pattern, name in [(r"\W", "w"), (r"\S", "s"), (r"\D", "d"), (r"[^\W]", "[w]"), (r"[^\S]", "s")]:
        got = probe(normalizers.Replace(Regex(pattern), ""), lambda c, out: out == "")
        if (got if "^" in pattern else everything - got) != set(found[name]):
            raise SystemExit(f"{pattern} is not the complement it should be")


def ranges(members):
    """Runs of code points; a run may step over the surrogates, which no text holds."""
    out = []
    for c in members:
        if out and (c == out[-1][1] + 1 or (out[-1][1] == 0xD7FF and c == 0xE000)):
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


class Writer:
    def __init__(self):
        self.lines = []

    def line(self, text=""):
        self.lines.append(text)

    def numbers(self, head, values, form=lambda v: f"{v:#x}"):
        self.line(head)
        row = "\t"
        for v in values:
            item = form(v) + ","
            if len(row) + len(item) > 110:
                self.line(row.rstrip())
                row = "\t"
            row += item + " "
        if row.strip():
            self.line(row.rstrip())
        self.line("}")
        self.line()


def two_stage(w, bits, classes):
    """Blocks of 128 code points, each byte an index into the distinct property words."""
    records, index = [], {}

    def record(c):
        key = (bits.get(c, 0), classes.get(c, 0))
        if key not in index:
            index[key] = len(records)
            records.append(key)
        return index[key]

    stage1, blocks = split_blocks(record)
    if len(records) > 256:
        raise SystemExit("too many records for bytes")
    w.line("// propRecords holds the distinct properties: bits and canonical combining class (by rank).")
    w.numbers("var propRecords = [...]properties{", records, lambda r: f"{{{r[0]:#x}, {r[1]}}}")
    w.line("// propIndex maps a code point's upper bits (>>7) to a block of propBlocks.")
    w.numbers("var propIndex = [...]uint8{", stage1, str)
    w.line("// propBlocks holds blocks of 128 indices into propRecords.")
    w.numbers("var propBlocks = [...]uint8{", [b for block in blocks for b in block], str)


def split_blocks(value):
    """An index of blocks of 128 values, and the distinct blocks."""
    blocks, block_index, stage1 = [], {}, []
    for start in range(0, 0x110000, 128):
        block = bytes(value(c) for c in range(start, start + 128))
        if block not in block_index:
            block_index[block] = len(blocks)
            blocks.append(block)
        stage1.append(block_index[block])
    if len(blocks) > 256:
        raise SystemExit("too many blocks for bytes")
    return stage1, blocks


def cluster_table(w, clusters):
    stage1, blocks = split_blocks(lambda c: clusters.get(c, 0))
    w.line("// clusterIndex maps a code point's upper bits (>>7) to a block of clusterBlocks.")
    w.numbers("var clusterIndex = [...]uint8{", stage1, str)
    w.line("// clusterBlocks holds blocks of 128 classes, as grapheme.go has them.")
    w.numbers("var clusterBlocks = [...]uint8{", [b for block in blocks for b in block], str)


def mapping(w, name, comment, table):
    w.line(f"// {name} {comment}")
    w.numbers(
        f"var {name} = [...]mapping{{",
        sorted(table.items()),
        lambda kv: f"{{{kv[0]:#x}, {go_string(kv[1])}}}",
    )


def go_string(s):
    return '"' + "".join(f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}" for c in s) + '"'


def main():
    target = sys.argv[1]
    if tokenizers.__version__ != "0.23.3":
        raise SystemExit("install requirements.txt first")
    bits, lower, canon, compat = properties()
    classes = combining_classes()
    pairs = compositions(canon)
    onig = oniguruma()
    for bit, letters in [(LETTER, "L"), (NUMBER, "N"), (BLANK, "s")]:
        for name, members in onig.items():
            if name[0] == letters:
                for c in members:
                    bits[c] |= bit
    clusters = graphemes.classes(CODE_POINTS)
    w = Writer()
    w.line("// Code generated by scripts/tokenizer-oracle/tables.py from tokenizers " + tokenizers.__version__ + ". DO NOT EDIT.")
    w.line()
    w.line("package text")
    w.line()
    two_stage(w, bits, classes)
    cluster_table(w, clusters)
    mapping(w, "lowerTable", "maps to lower case what has one, ascending.", lower)
    mapping(w, "canonTable", "holds full canonical decompositions, Hangul syllables left out, ascending.", canon)
    mapping(w, "compatTable", "holds full compatibility decompositions where they differ from the canonical ones.", compat)
    w.line("// composeTable holds primary composites, ascending by first and second character.")
    w.numbers(
        "var composeTable = [...]composition{",
        sorted(pairs.items()),
        lambda kv: f"{{{kv[0][0]:#x}, {kv[0][1]:#x}, {kv[1]:#x}}}",
    )
    w.line("// regexClasses holds Oniguruma's general categories, some scripts, its \\w, \\s and \\d, and \\w in brackets: ranges, ends included.")
    w.line("var regexClasses = [...]regexClass{")
    for name, members in sorted(onig.items()):
        w.line(f'\t{{"{name}", []rune{{')
        row = "\t\t"
        for lo, hi in ranges(members):
            item = f"{lo:#x}, {hi:#x}, "
            if len(row) + len(item) > 110:
                w.line(row.rstrip())
                row = "\t\t"
            row += item
        w.line(row.rstrip())
        w.line("\t}},")
    w.line("}")
    with open(target, "w", encoding="ascii") as f:
        f.write("\n".join(w.lines) + "\n")
    print(
        f"{len(lower)} lower, {len(canon)} canonical, {len(compat)} compatibility, "
        f"{len(classes)} marks in {max(classes.values())} classes, {len(pairs)} compositions"
    )


if __name__ == "__main__":
    main()
