"""Asks the oracle where extended grapheme clusters end.

Nothing of the library tells that by itself. But its Precompiled normalizer (that
of SentencePiece models) works on clusters: one of less than six bytes whose first
characters are in the charsmap is replaced as a whole, and in any other each
character is replaced by itself. With a charsmap that turns a few characters into
X, a text shows by its Xs which of its characters are of one cluster.
"""

import struct

from tokenizers import normalizers

# Classes, as in grapheme.go. Regional indicators are not told from others: no
# cluster of less than six bytes has one beside another character.
OTHER, CONTROL, EXTEND, SPACING, ZWJ, PREPEND, L, V, T, LV, LVT, PICTOGRAPH, CR, LF = range(14)
CONSONANT, LINKER, LINK_EXTEND = 0x10, 0x20, 0x40

# What the charsmap turns into X; their own classes cannot be asked with it.
KEYS = {"a": OTHER, "\u0301": EXTEND | LINK_EXTEND, "\u00ae": PICTOGRAPH, "\u0915": CONSONANT, "\u1100": L, "\u1161": V, "\u11a8": T}


def charsmap(replacements):
    """A precompiled_charsmap: the double array of Darts-clone, and what its values point to."""
    trie = {}
    blob = bytearray()
    for key, value in replacements.items():
        node = trie
        for b in key.encode():
            node = node.setdefault(b, {})
        node[None] = len(blob)
        blob += value.encode() + b"\0"
    units, used, bases = [0] * 256, {0}, set()
    start = 256

    def place(node, at):
        nonlocal start
        children = [b for b in node if b is not None]
        base = start
        while base in bases or any(base ^ b in used for b in children + ([0] if None in node else [])):
            base += 1
        bases.add(base)
        units.extend([0] * ((base | 255) + 1 - len(units)))
        units[at] |= (at ^ base) << 10
        if None in node:
            units[at] |= 1 << 8
            units[base] = node[None] | 1 << 31
            used.add(base)
        for b in children:
            units[base ^ b] = b
            used.add(base ^ b)
        while start in used:
            start += 1
        for b in children:
            place(node[b], base ^ b)

    place(trie, 0)
    return struct.pack("<I", 4 * len(units)) + struct.pack(f"<{len(units)}I", *units) + bytes(blob)


def classes(code_points):
    """Code point -> class and bits, where that is not OTHER."""
    norm = normalizers.Precompiled(charsmap(dict.fromkeys(KEYS, "X"))).normalize_str
    out = {}
    for c in code_points:
        s = chr(c)
        if s in KEYS:
            out[c] = KEYS[s]
            continue
        extend = norm("a" + s) == "X"
        prepend = norm(s + "a\u0301").endswith("XX")
        kind = OTHER
        if s == "\r":
            kind = CR
        elif s == "\n":
            kind = LF
        elif s == "\u200d":
            kind = ZWJ
        elif extend:
            kind = EXTEND if norm("\u00a9" + s + "\u200d\u00ae\u0301").endswith("XX") else SPACING
        elif prepend:
            kind = PREPEND
        elif norm(s + "\u0301\u0302") == s + "X":
            kind = CONTROL
        elif norm(s + "\u200d\u00ae\u0301").endswith("\u200dXX"):
            kind = PICTOGRAPH
        elif norm(s + "\u1100\u0301").endswith("XX"):
            kind = L
        elif norm(s + "\u1161\u0301").endswith("XX"):
            kind = LV if 0xAC00 <= c <= 0xD7A3 else V
        elif norm(s + "\u11a8\u0301").endswith("XX"):
            kind = LVT if 0xAC00 <= c <= 0xD7A3 else T
        if norm(s + "\u094d\u0915\u0301").endswith("\u094dXX"):
            kind |= CONSONANT
        elif kind != PREPEND:
            if norm("\u0916" + s + "\u0915\u0301").endswith("XX"):
                kind |= LINKER
            elif norm("\u0916" + s + "\u094d\u0915\u0301").endswith("\u094dXX"):
                kind |= LINK_EXTEND
        if kind:
            out[c] = kind
    return out
