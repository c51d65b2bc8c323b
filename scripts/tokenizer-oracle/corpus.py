"""Texts that tokenizers are known to disagree about, from a seeded generator."""

import random
import unicodedata

SPECIAL = ["[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]"]

HAND = [
    "", " ", "\t\n\r ", "\u00a0", "\u3000\u2003", "\u200b", "\u200b\u200c\u200d\ufeff", "\x00", "a\x00b", "\ufffd", "a\ufffdb",
    "Hello, World!", "don't", "l'été", "naïve café résumé", "NAÏVE CAFÉ RÉSUMÉ", "e\u0301", "\u0301e", "E\u0301\u0327", "Å Å A\u030a",
    "İstanbul", "ISPARTA ıspanak", "straße STRASSE ẞ", "ſtop Kelvin K Å", "ΟΔΥΣΣΕΥΣ Σίσυφος ς", "ΑΣ ΑΣ.", "ﬁ ﬂ ﬀ ﬃ ﬄ ﬅ ﬆ", "Ǆ ǅ ǆ",
    "½ ² ³ ¹ ① ⑳ Ⅷ ⅷ", "１２３ ＡＢＣ ａｂｃ", "ﾊﾝｶｸ ｶﾞ", "中文字符", "日本語のテキスト", "한국어 텍스트", "\u1112\u1161\u11ab\u1100\u116e\u11a8",
    "\uac00\u11a8", "\uac00\u11a7", "\u1100\u1161\u11a7", "㌀ ㍿ ㎏ ℃ № ™ ℠", "ﷺ ﷲ ﻻ ﺍﻟﻌﺮﺑﻴﺔ", "العَرَبِيَّة", "עִבְרִית", "हिन्दी क्षत्रिय", "தமிழ்", "ไทย น้ำ", "བོད་ཡིག",
    "👨‍👩‍👧‍👦", "🇩🇪🇫🇷", "👍🏽", "❤️ ❤", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "1️⃣", "\U0001f9d1\u200d\U0001f4bb", "\ud7ff\ue000", "\ufdd0\ufffe\uffff", "\U0001fffe\U0010ffff",
    "\ue000\uf8ff\U000f0000\U00100000", "\U0002f800\U0002fa1d", "\U00020000\U0002a6d6\U0002b739\U0002b81d\U0002b820\U0002b91f\U0002b920\U0002cea1\U0002cead\U00030000",
    "\u3400\u4dbf\u4dc0\u9fff\ua000\uf900\ufaff\ufb00", "\u202eabc\u202c", "\u061c\u200e\u200f\u2066x\u2069", "\u00ad soft\u00adhyphen", "\u180e x\u180ey", "\u2028\u2029", "\x85 \x1c\x1d\x1e\x1f",
    "a_b a-b a–b a—b a‐b", "¡hola! ¿qué? «oui» „ja“ ‚x‘", "$ € £ ¥ ₿ + < = > ^ ` | ~", "@user #tag http://x.y/z?q=1&r=2", "...…‥", "' ` ´ ʼ ’ ‘", "\u0345\u0344 \u0344\u0345", "q\u0307\u0323 q\u0323\u0307",
    "\u0f71\u0f72\u0f74", "\u1e9b\u0323", "\u212b \u2126 \u212a", "\u0958 \u09dc", "\u2adc \ufb1d", "\u0340\u0341\u0343", "\U0001d15e\U0001d1bb", "\U000110a5\U000110ba \U00011131\U00011127", "\u1b06 \u1b05\u1b35",
    "x" * 100, "x" * 101, "é" * 100, "é" * 101, "e\u0301" * 100, "中" * 101, "\U0001f600" * 100, "\U0001f600" * 101, "[" * 50, "##a ##b a##b", "[CLS][SEP]", "[ CLS ]", "[cls]", "[CLS", "CLS]", "[[CLS]]", "[SEP].", "x[MASK]y", "  [MASK]  ", "[MASK][MASK] [MASK]",
    "\u00a0[MASK]\u3000", "[UNK] [PAD]", "[\u200bCLS]", "[CLS\u0301]", "ＣＬＳ［ＣＬＳ］", "\u01c5\u01c8 \u1f88\u1fbc", "\ua7ae \ua7c0 \u1c89 \U00010d50 \U00010570 \U0001e900", "\u10a0\u10d0\u1c90", "\u13a0\uab70\u13f8",
    "\u0130\u0049\u0131\u0069", "\u03f4 \u2c2f", "\u1d79\ua77d", "9 ٩ ९ ９ 九 Ⅸ ⁹ ₉ ❾ \U0001d7d7", "\u0bf0 \u4e00 \u3007 \u3021",
]


def by_category():
    out = {}
    for c in range(0x110000):
        if not 0xD800 <= c <= 0xDFFF:
            out.setdefault(unicodedata.category(chr(c)), []).append(chr(c))
    return out


def texts(sentences):
    """A list of distinct texts. sentences: real ones, to be mangled."""
    rng = random.Random(20260901)
    cats = by_category()
    marks = cats["Mn"] + cats["Mc"] + cats["Me"]
    classed = [c for c in marks if unicodedata.combining(c)]
    words = sorted({w for s in sentences[:3000] for w in s.split()})
    spaces = [" ", " ", " ", "  ", "\t", "\n", "\u00a0", "\u3000", "\u2009", "\u200b", "\x85", "\u2028", "\r\n"]
    out = list(HAND)

    def word():
        return rng.choice(words)

    def pick(chars, n):
        return "".join(rng.choice(chars) for _ in range(n))

    # Every category, alone and among words.
    for name, chars in sorted(cats.items()):
        for _ in range(50):
            out.append(pick(chars, rng.randint(1, 12)))
            out.append(rng.choice(spaces).join([word(), pick(chars, rng.randint(1, 4)), word() + rng.choice(chars), rng.choice(chars) + word()]))

    # Every character with something to it: a case, a decomposition, a category of note.
    noted = [
        c
        for name, chars in sorted(cats.items())
        for c in chars
        if name in ("Cf", "Zs", "Zl", "Zp", "Cc", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Lt", "Sk", "Lm") or name[0] == "P" or c.lower() != c
        or (unicodedata.decomposition(c) and not 0xF900 <= ord(c) <= 0xFAFF)
    ]
    rng.shuffle(noted)
    for i in range(0, len(noted), 9):
        out.append("".join(c + rng.choice(["", "", "a", " ", "b"]) for c in noted[i : i + 9]))

    # Marks in any order.
    letters = "aeiouAEIOUnNsSzZcC" + "αωΑΩ" + "иИ" + "\u09c7\u0dd9\u1025\u3046\u306f" + "\u1100\u1161\uac00"
    for _ in range(1300):
        s = ""
        for _ in range(rng.randint(1, 5)):
            s += rng.choice(letters) if rng.random() < 0.8 else ""
            s += pick(classed if rng.random() < 0.7 else marks, rng.randint(0, 5))
            s += rng.choice(["", "", " "])
        out.append(s)
    out.append("a" + pick(classed, 300))

    # Special tokens, whole and mangled.
    for _ in range(700):
        parts = []
        for _ in range(rng.randint(1, 6)):
            t = rng.choice(SPECIAL + ["<tok>", "newtok", "New Tok", "tok", "Émile", "émile", "<l>", "<r>", "<lr>"])
            k = rng.random()
            if k < 0.15:
                t = t.lower()
            elif k < 0.25:
                i = rng.randrange(len(t))
                t = t[:i] + rng.choice([" ", "\u200b", "\u0301", "[", "x"]) + t[i:]
            elif k < 0.3:
                t = unicodedata.normalize("NFD", t)
            elif k < 0.35:
                t = t.upper()
            parts.append(t)
            parts.append(rng.choice(["", "", " ", "  ", word(), " " + word() + " ", ".", "_", "é", "中", "\u00a0", "\t\n"]))
        out.append("".join(parts))

    # Words about as long as a word may be.
    for n in list(range(96, 105)) * 6:
        base = rng.choice(["a", "é", "e\u0301", "ab", "中", "ß", "İ", "\U0001f600", "א", "x\u200b"])
        out.append(word() + " " + (base * n)[:n] + " " + word())

    # Texts about as long as a text may be.
    for n in [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 47, 48, 49, 50, 51, 52, 61, 62, 63, 124, 125, 126, 127, 128, 129, 130, 254, 256, 509, 510, 511, 512, 513]:
        out.append(" ".join(["a"] * n))
        out.append(" ".join(word() for _ in range(n)))
    out.append(" ".join(word() for _ in range(2000)))

    # Emoji, jamo, right-to-left, presentation forms, ideographs.
    emoji = [chr(c) for r in [(0x1F300, 0x1F6FF), (0x1F900, 0x1FAFF), (0x2600, 0x27BF)] for c in range(*r)]
    glue = ["\u200d", "\ufe0f", "\ufe0e", "\U0001f3fb", "\U0001f3ff", "\u20e3", "\U0001f1e6", "\U0001f1ff", "\U000e0067", "\U000e007f"]
    for _ in range(400):
        out.append("".join(rng.choice(emoji) + rng.choice(glue + ["", "", " "]) for _ in range(rng.randint(1, 8))))
    jamo = [chr(c) for c in list(range(0x1100, 0x1200)) + list(range(0xA960, 0xA97D)) + list(range(0xD7B0, 0xD7FC)) + list(range(0x3130, 0x3190))]
    hangul = [chr(c) for c in range(0xAC00, 0xD7A4)]
    for _ in range(400):
        out.append("".join(rng.choice(rng.choice([jamo, jamo, hangul, [" ", "a"]])) for _ in range(rng.randint(1, 15))))
    rtl = [chr(c) for r in [(0x590, 0x700), (0x8A0, 0x900), (0xFB1D, 0xFDFF), (0xFE70, 0xFF00)] for c in range(*r)]
    bidi = ["\u200e", "\u200f", "\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069", "\u061c"]
    for _ in range(400):
        out.append("".join(rng.choice(rng.choice([rtl, rtl, rtl, bidi, [" ", "a", "1"]])) for _ in range(rng.randint(1, 20))))
    ideographs = [chr(c) for r in [(0x3400, 0x3440), (0x4DB0, 0x4E10), (0x9FA0, 0xA010), (0xF900, 0xFB00), (0x20000, 0x20010), (0x2A6D0, 0x2A710), (0x2B730, 0x2B750), (0x2B810, 0x2B930), (0x2CEA0, 0x2CEC0), (0x2F800, 0x2FA20), (0x30000, 0x30010), (0x3040, 0x30FF)] for c in range(*r)]
    for _ in range(400):
        out.append("".join(rng.choice(ideographs) + rng.choice(["", "", "a", "。", " "]) for _ in range(rng.randint(1, 10))))
    fold = "İıIißẞſKÅΣσςǅǄǆŉǰΐΰևẖẗẘẙẚﬁﬂﬅﬆͅᾳΩℓﬓŁłĐđØøÞþÆæŒœꞵꭓჅⴥ"
    for _ in range(300):
        out.append("".join(rng.choice(fold + " ab") for _ in range(rng.randint(1, 12))))

    # Real sentences, mangled.
    for _ in range(1200):
        s = list(rng.choice(sentences))
        for _ in range(rng.randint(1, 6)):
            i = rng.randrange(len(s) + 1)
            k = rng.random()
            if k < 0.3 and i < len(s):
                s[i] = s[i].upper()
            elif k < 0.5:
                s.insert(i, rng.choice(classed))
            elif k < 0.7:
                s.insert(i, rng.choice(rng.choice([bidi, glue, spaces, cats["Cf"], cats["Cc"]])))
            elif k < 0.85:
                s.insert(i, rng.choice(rng.choice([fold, cats["Po"], cats["Sm"], ideographs])))
            elif i < len(s):
                del s[i]
        out.append("".join(s)[: rng.choice([40, 80, 400])])

    # Anything.
    pools = [v for k, v in sorted(cats.items()) if k not in ("Cs", "Cn", "Co")] + [marks, list("abcdefghij0123456789.,-'"), spaces, list(fold), jamo, emoji, cats["Cn"][:2000] + cats["Cn"][-100:], cats["Co"]]
    for _ in range(2200):
        out.append("".join(rng.choice(rng.choice(pools)) for _ in range(rng.randint(1, 25))))
    return list(dict.fromkeys(out))


def broken_utf8():
    """Byte strings, most of them not UTF-8, with what Python makes of them."""
    rng = random.Random(20260902)
    edges = [0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xF7, 0xF8, 0xFF]
    out = [bytes([a]) for a in range(256)]
    out += [bytes([a, b]) for a in edges for b in edges]
    for _ in range(1500):
        out.append(bytes(rng.choice(edges) for _ in range(rng.randint(3, 12))))
    for _ in range(300):
        s = "".join(rng.choice("aé中😀\U0010ffff\ud7ff") for _ in range(4)).encode()
        i = rng.randrange(len(s))
        out.append(s[:i] + s[i + 1 :])
    return [(b, b.decode("utf-8", "replace")) for b in dict.fromkeys(out)]
