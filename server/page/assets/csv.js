// Reads and writes delimited text, as RFC 4180 says and as spreadsheets do.

/** Reads the bytes of a file: UTF-8, UTF-16 with its mark, or else what Windows writes in the West. */
export function decode(bytes) {
  const [a, b] = new Uint8Array(bytes.slice(0, 2));
  if (a === 0xff && b === 0xfe) return new TextDecoder("utf-16le").decode(bytes);
  if (a === 0xfe && b === 0xff) return new TextDecoder("utf-16be").decode(bytes);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder("windows-1252").decode(bytes);
  }
}

// What spreadsheets take for a formula, at the beginning of a cell, but for plain
// numbers. An apostrophe before it makes it text; further ones are kept apart from that
// one by having it, too, so that what is written is read as it was.
const number = /^[+-]?(\d[\d.,]*|[.,]\d+)(e[+-]?\d+)?%?$/i;
const formula = (field) => {
  const bare = field.replace(/^'+/, "");
  return /^[=+\-@\t\r\n＝＋－＠]/.test(bare) && !number.test(bare);
};
const defuse = (field) => (formula(field) ? `'${field}` : field);
const restore = (field) => (field.startsWith("'") && formula(field) ? field.slice(1) : field);

/**
 * Splits a text into rows of fields. A field in quotes may hold anything; a quote in it
 * is doubled. The apostrophe that keeps a field from being a formula is no part of it.
 */
export function parse(text, delimiter) {
  const rows = [];
  let row = [];
  for (let i = 0; i < text.length || row.length > 0; ) {
    let field = "";
    if (text[i] === '"') {
      for (i++; i < text.length; i++) {
        if (text[i] === '"' && text[++i] !== '"') break;
        field += text[i] ?? "";
      }
    }
    const start = i; // what follows a closing quote belongs to the field, too
    while (i < text.length && text[i] !== delimiter && text[i] !== "\n" && text[i] !== "\r") i++;
    row.push(restore(field + text.slice(start, i)));
    if (text[i] === delimiter) {
      i++;
      continue;
    }
    if (text[i] === "\r" && text[i + 1] === "\n") i++;
    i++;
    if (row.length > 1 || row[0] !== "") rows.push(row);
    row = [];
  }
  return rows;
}

/** Guesses the delimiter by the first line. */
export function delimiterOf(text, name) {
  if (/\.(tsv|tab)$/i.test(name)) return "\t";
  const line = text.slice(0, 4096).split(/[\r\n]/, 1)[0].replaceAll(/"[^"]*"/g, "");
  const count = (d) => line.split(d).length;
  return ["\t", ";"].reduce((best, d) => (count(d) > count(best) ? d : best), ",");
}

const names = /^(text|texts|sentence|sentences|content|review|reviews|comment|message|tweet|body|title|description|document|input|inputs|question)$/i;

/** Guesses which column holds the texts, and whether the first row names the columns. */
export function guess(rows) {
  const named = rows[0].findIndex((field) => names.test(field.trim()));
  if (named >= 0) return { column: named, header: true };
  const sample = rows.slice(0, 100);
  const lengths = rows[0].map((_, i) => sample.reduce((sum, row) => sum + (row[i]?.length ?? 0), 0));
  return { column: lengths.indexOf(Math.max(...lengths)), header: rows[0].length > 1 && rows[0].every((field) => /^[\p{L}_][\p{L}\d _-]{0,30}$/u.test(field)) };
}

/** Writes rows of fields as CSV, in which no field is a formula. */
export function format(rows) {
  const quote = (field) => (/[",;\t\r\n]|^['\s]|\s$/.test(field) ? `"${field.replaceAll('"', '""')}"` : field);
  return rows.map((row) => `${row.map((field) => quote(defuse(String(field)))).join(",")}\r\n`).join("");
}
