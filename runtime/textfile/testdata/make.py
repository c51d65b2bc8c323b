"""Makes the corpus: small files as people have them, and table.json with what each is read as.

The texts are sentences of SST-2 and some with accents. Run it in this folder; what it writes is
committed. Files are made by Python's own csv, json, gzip and codecs, as other programs do.
"""
import csv, gzip, io, json, pathlib, struct, subprocess, zipfile

out = pathlib.Path("corpus")
table = []
TEXTS = ["it 's a charming and often affecting journey . ", "unflinchingly bleak and desperate ", 'the film "works" , mostly']
WEST = ["un caf\u00e9 d\u00e9licieux \u2013 tr\u00e8s fran\u00e7ais", "an over-long, dull affair", "na\u00efve and \u20ac5 too dear"]
WIDE = ["\u6620\u753b\u306f\u3068\u3066\u3082\u826f\u304b\u3063\u305f", "a lovely film \U0001f3ac", "\u043e\u0442\u043b\u0438\u0447\u043d\u044b\u0439 \u0444\u0438\u043b\u044c\u043c"]


def add(name, data, kind, about=None, rows=None, refused=None, after=None, **options):
    (out / name).write_bytes(data)
    entry = {"file": name, "kind": kind}
    if options: entry["options"] = options
    if refused: entry["refused"] = refused
    else: entry["about"], entry["rows"] = about, rows
    if after: entry["rows"] = after
    table.append(entry)


def ok(texts, first=1, step=1): return [{"line": first + i * step, "text": t} for i, t in enumerate(texts)]
def bad(line, error): return {"line": line, "error": error}
def lines(texts, end="\n"): return "".join(t + end for t in texts)


def sheet(rows, delimiter=",", end="\r\n"):
    f = io.StringIO()
    csv.writer(f, delimiter=delimiter, lineterminator=end).writerows(rows)
    return f.getvalue()


# One text a line.
L = "a text a line, "
add("lines.txt", lines(TEXTS).encode(), "one text a line", L + "UTF-8", ok(TEXTS))
add("crlf.txt", lines(TEXTS, "\r\n").encode(), "Windows line ends", L + "UTF-8", ok(TEXTS))
add("cr.txt", lines(TEXTS, "\r").encode(), "line ends of old Macs", L + "UTF-8", ok(TEXTS))
add("no-end.txt", lines(WIDE).rstrip("\n").encode(), "no line end at the end", L + "UTF-8", ok(WIDE))
add("mark.txt", lines(WIDE).encode("utf-8-sig"), "UTF-8 with a mark", L + "UTF-8", ok(WIDE))
add("powershell.txt", ("\ufeff" + lines(WIDE, "\r\n")).encode("utf-16-le"), "UTF-16 as Windows PowerShell's > writes it", L + "UTF-16", ok(WIDE))
add("utf16be.txt", ("\ufeff" + lines(WIDE)).encode("utf-16-be"), "UTF-16, big-endian", L + "UTF-16", ok(WIDE))
add("utf16-no-mark.txt", lines(WEST).encode("utf-16-le"), "UTF-16 without a mark", L + "UTF-16", ok(WEST))
add("latin.txt", lines(WEST).encode("cp1252"), "Windows-1252 (Latin-1)", L + "Windows-1252", ok(WEST))
add("cyrillic.txt", lines([WIDE[2]]).encode("cp1251"), "another 8-bit encoding", refused="say the encoding")
add("cyrillic-asked.txt", lines([WIDE[2]]).encode("cp1251"), "another 8-bit encoding that is named", L + "windows-1251", ok([WIDE[2]]), encoding="windows-1251")
add("gbk.txt", lines(["\u8fd9\u90e8\u7535\u5f71\u5f88\u597d"]).encode("gbk"), "GBK that is named", L + "gbk", ok(["\u8fd9\u90e8\u7535\u5f71\u5f88\u597d"]), encoding="gbk")
mixed = (WEST[0] + "\n").encode() + (WEST[2] + "\n").encode("cp1252") + b"good\n"
add("mixed.txt", mixed, "UTF-8 with a line of Windows-1252", L + "UTF-8", ok([WEST[0]]) + [bad(2, "not UTF-8 while lines before are"), {"line": 3, "text": "good"}])
add("mixed-west.txt", (WEST[0] + "\n").encode("cp1252") + (WIDE[0] + "\n").encode(), "Windows-1252 with a line of UTF-8", L + "Windows-1252", ok([WEST[0]]) + [bad(2, "UTF-8 while lines before are Windows-1252")])
add("half.txt", b"\xff\xfeg\x00o\x00\x00\xd8d\x00\n\x00", "UTF-16 with half of a character", refused="not valid UTF-16")

# Tables.
T = [["id", "text", "note"]] + [[str(i), t, ""] for i, t in enumerate(TEXTS)]
add("comma.csv", sheet(T).encode(), "CSV with commas", 'CSV with commas, UTF-8, column "text"', ok(TEXTS, 2))
W = [["Nr", "Kommentar", "review"]] + [[str(i), "x", t] for i, t in enumerate(WEST)]
add("excel.csv", sheet(W, ";").encode("cp1252"), "CSV with semicolons as Excel of Europe writes it", 'CSV with semicolons, Windows-1252, column "review"', ok(WEST, 2))
add("excel-utf8.csv", sheet(W, ";").encode("utf-8-sig"), "CSV UTF-8 of Excel", 'CSV with semicolons, UTF-8, column "review"', ok(WEST, 2))
add("excel-unicode.tsv", ("\ufeff" + sheet(W, "\t")).encode("utf-16-le"), "Unicode text of Excel", 'TSV with tabs, UTF-16, column "review"', ok(WEST, 2))
add("sep.csv", ("sep=|\r\n" + sheet([["text", "n"], [TEXTS[0], "1"]], "|")).encode(), "CSV with bars and sep=", 'CSV with bars, UTF-8, column "text"', ok(TEXTS[:1], 3))
add("tabs.csv", sheet(T, "\t").encode(), "CSV whose cells tabs part", 'CSV with tabs, UTF-8, column "text"', ok(TEXTS, 2))
M = [["text", "label"], ["first line,\nsecond \"line\"\n\nfourth", "1"], [TEXTS[1], "0"]]
add("breaks.csv", sheet(M).encode(), "line breaks and quotes in cells", 'CSV with commas, UTF-8, column "text"', [{"line": 2, "text": M[1][0]}, {"line": 6, "text": TEXTS[1]}])
add("breaks.tsv", sheet([["id", "text"], ["1", "first\nsecond"], ["2", TEXTS[2]]], "\t", "\n").encode(), "line breaks in cells of TSV", 'TSV with tabs, UTF-8, column "text"', [{"line": 2, "text": "first\nsecond"}, {"line": 4, "text": TEXTS[2]}])
sst = [l.split("\t")[1] for l in open("../../../models/testdata/sst2/dev.tsv", encoding="utf-8").read().split("\n")[1:9]]
add("glue.tsv", ("sentence\tlabel\n" + "".join(t + "\t1\n" for t in sst + ['" a lone quote', '"whole" but not all'])).encode(), "TSV of GLUE, quotes are text", 'TSV with tabs, UTF-8, column "sentence"', ok(sst + ['" a lone quote', '"whole" but not all'], 2))
add("no-header.csv", sheet([["1", TEXTS[0]], ["0", TEXTS[1]]]).encode(), "no header, the column is named", 'CSV with commas, UTF-8, no header, column "column 2"', ok(TEXTS[:2]), column="column 2")
add("several.csv", sheet([["title", "subject"], ["a", "b"]]).encode(), "several columns, none says text", refused="it is not said which holds the text")
add("one-column.csv", sheet([["feedback"], [TEXTS[0]]]).encode(), "one column", "CSV with commas, UTF-8", ok(TEXTS[:1], 2))
add("one-text.csv", sheet([["a good film"], ["a bad film"]]).encode(), "one column whose first row may be a text", refused="may be a text or the name of the column")
add("pairs.tsv", sheet([["sentence1", "sentence2"], ["a", "b"]], "\t").encode(), "pairs", 'TSV with tabs, UTF-8, columns "sentence1" and "sentence2"', [{"line": 2, "text": "a", "pair": "b"}], column="sentence1", pair="sentence2")
add("ragged.csv", b"id,text\n1,good, they say\n2,bad\n3\n", "rows of other lengths", 'CSV with commas, UTF-8, column "text"', [bad(2, "3 columns"), {"line": 3, "text": "bad"}, bad(4, "1 columns")])
add("undoubled.csv", b'id,text\n1,"he said "hi" to me"\n2,bad\n', "a quote in quotes that is not doubled", 'CSV with commas, UTF-8, column "text"', [bad(2, "not doubled"), {"line": 3, "text": "bad"}])
add("lone-quote.csv", b'id,text\n1,"a good film\n2,bad\n3,"fine, I suppose"\n4,worse\n', "a quote that is not closed", refused="line 2: a quoted cell begins here", after=[])
add("lone-quote-end.csv", b'id,text\n1,good\n2,"a film\n3,bad\n', "a quote that is closed nowhere", refused="line 3: a quoted cell begins here", after=[{"line": 2, "text": "good"}])
add("inch.csv", b'id,text,n\n1,"a 6 inch,1\n2,bad,2\n3,worse,3\n4,worst,4\n5,"\n', "a quote that takes in rows", refused="what look like rows", after=[])
add("defused.csv", b"text,n\n'-dull,1\n'tis,2\n'=1+1,3\n", "apostrophes before formulas", 'CSV with commas, UTF-8, column "text"', ok(["-dull", "'tis", "=1+1"], 2))

# JSON.
objects = [{"id": i, "text": t} for i, t in enumerate(TEXTS + WIDE)]
texts = TEXTS + WIDE
jsonl = "".join(json.dumps(o, ensure_ascii=False) + "\n" for o in objects).encode()
J = 'JSON lines, UTF-8, column "text"'
add("objects.jsonl", jsonl, "JSON lines", J, ok(texts))
add("lines.json", jsonl, "JSON lines named .json", J, ok(texts))
add("objects.txt", jsonl, "JSON lines named .txt", J, ok(texts))
add("strings.ndjson", "".join(json.dumps(t) + "\n" for t in texts).encode(), "JSON strings", "JSON lines, UTF-8", ok(texts))
add("array.json", json.dumps(objects).encode(), "a JSON array", 'a JSON array, UTF-8, column "text"', [{"line": 1, "text": t} for t in texts])
add("pretty.json", json.dumps(texts, indent=1, ensure_ascii=False).encode(), "a JSON array over several lines", "a JSON array, UTF-8", ok(texts, 2))
add("wrong.jsonl", b'{"text": "good"}\n{"text": 1}\n\n{"text": "\\ud83d"}\n[1]\n{"text"\n"bad"\n', "JSON lines of which some are wrong", "JSON lines, UTF-8", ok(["good"]) + [bad(2, "no string in field"), bad(4, "surrogate"), bad(5, "not a JSON string or object"), bad(6, "not a JSON string or object"), {"line": 7, "text": "bad"}])
add("object.json", json.dumps({"data": objects}, indent=1).encode(), "one JSON object", refused="one JSON object over several lines")
add("not.json", lines(TEXTS).encode(), "no JSON, named .json", refused="is not JSON")
add("torn.json", b'["good",\n"bad",\n', "a JSON array that is cut off", refused="line 2: the JSON array cannot be read on", after=ok(["good", "bad"]))
add("fields.jsonl", b'{"title": "a", "subject": "b"}\n', "several fields, none says text", refused="it is not said which holds the text")

# Compressed.
add("lines.txt.gz", gzip.compress(lines(TEXTS).encode(), mtime=0), "gzip", L + "UTF-8, gzip", ok(TEXTS))
add("comma.csv.gz", gzip.compress(sheet(W, ";").encode("cp1252"), mtime=0), "CSV in gzip", 'CSV with semicolons, Windows-1252, gzip, column "review"', ok(WEST, 2))
add("gzip.txt", gzip.compress(lines(TEXTS).encode(), mtime=0), "gzip under another name", L + "UTF-8, gzip", ok(TEXTS))
add("cut.txt.gz", gzip.compress(lines(TEXTS * 9).encode(), mtime=0)[:-9], "gzip that is cut off", refused="damaged", after=ok(TEXTS * 9))
add("twice.txt.gz", gzip.compress(gzip.compress(lines(TEXTS).encode(), mtime=0), mtime=0), "compressed twice", refused="compressed twice")
add("objects.jsonl.zst", subprocess.run(["zstd", "-19", "-c"], input=jsonl, capture_output=True, check=True).stdout, "zstd", 'JSON lines, UTF-8, zstd, column "text"', ok(texts))

# Other things.
book = io.BytesIO()
with zipfile.ZipFile(book, "w") as z: z.writestr(zipfile.ZipInfo("xl/workbook.xml"), "<workbook/>")
add("book.xlsx", book.getvalue(), "an Excel workbook", refused="save the sheet as CSV")
add("book.csv", book.getvalue(), "an Excel workbook named .csv", refused="save the sheet as CSV")
add("paper.txt", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF", refused="a PDF")
add("picture.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a picture", refused="a picture")
add("program", b"\x7fELF\x02\x01\x01\0\0\0", "a program", refused="a program")
add("rows.parquet", b"PAR1\x15\x04\x15", "Parquet", refused="a Parquet file; convert it")
add("binary.txt", struct.pack("<8I", 1, 70000, 3, 9, 1 << 30, 5, 6, 7), "binary", refused="NUL bytes")
add("empty.txt", b"", "an empty file", L + "UTF-8", [])

pathlib.Path("corpus/table.json").write_text("[\n" + ",\n".join(json.dumps(e, ensure_ascii=False) for e in table) + "\n]\n", encoding="utf-8")
print(len(table), "files")
