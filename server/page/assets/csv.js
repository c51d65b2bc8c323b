// Reads and writes delimited text, as RFC 4180 says and as spreadsheets do.

/** Splits a text into rows of fields. A field in quotes may hold anything; a quote in it is doubled. */
export function parse(text, delimiter) {
  if (text.charCodeAt(0) === 0xfeff) text = text.slice(1);
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
    row.push(field + text.slice(start, i));
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

/** Writes rows of fields as CSV. */
export function format(rows) {
  const quote = (field) => (/[",\r\n]|^\s|\s$/.test(field) ? `"${field.replaceAll('"', '""')}"` : field);
  return rows.map((row) => `${row.map((field) => quote(String(field))).join(",")}\r\n`).join("");
}
