// Writes delimited text, as RFC 4180 says and as spreadsheets do. The server reads it.

// What spreadsheets take for a formula, at the beginning of a cell, but for plain
// numbers. An apostrophe before it makes it text; further ones are kept apart from that
// one by having it, too, so that what is written is read as it was.
const number = /^[+-]?(\d[\d.,]*|[.,]\d+)(e[+-]?\d+)?%?$/i;
const formula = (field) => {
  const bare = field.replace(/^'+/, "");
  return /^[=+\-@\t\r\n＝＋－＠]/.test(bare) && !number.test(bare);
};
const defuse = (field) => (formula(field) ? `'${field}` : field);

/** Writes rows of fields as CSV, in which no field is a formula. */
export function format(rows, delimiter) {
  const special = (field) => /[",;|\t\r\n]|^['\s]|\s$/.test(field) || field.includes(delimiter);
  const quote = (field) => (special(field) ? `"${field.replaceAll('"', '""')}"` : field);
  return rows.map((row) => `${row.map((field) => quote(defuse(String(field)))).join(delimiter)}\r\n`).join("");
}
