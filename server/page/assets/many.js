// Many texts: pasted lines or a file in, a table with an answer to each out.
import { decode, delimiterOf, format, guess, parse } from "./csv.js";
import { $, bytes, el, show, whole, write } from "./dom.js";
import { labelAll } from "./labeller.js";
import { Table } from "./table.js";

const largest = 32e6; // bytes of a file
const mostRows = 100_000;

let task = null;
let maxBody = 0;
let file = null; // {name, rows, header, column}
let shown = null; // what is in the table: {rows, names, file}
let running = null; // an AbortController
let tally = { answered: 0, failed: 0 };
let table = null;

export function startMany(next, limit) {
  maxBody = limit;
  if (task === next) return;
  task = next;
  if (table) return;
  table = new Table();
  $("lines").addEventListener("input", count);
  $("choose").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => take($("file").files[0]));
  $("remove").addEventListener("click", () => (forget(), $("lines").focus()));
  $("column").addEventListener("change", () => ((file.column = Number($("column").value)), count()));
  $("header").addEventListener("change", () => ((file.header = $("header").checked), describe(), count()));
  $("run").addEventListener("click", () => begin());
  $("cancel").addEventListener("click", () => running?.abort());
  $("again").addEventListener("click", again);
  $("download").addEventListener("click", download);
  acceptDrops();
  count();
}

function acceptDrops() {
  const panel = $("panel-many");
  const over = (on) => (event) => {
    if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
    event.preventDefault();
    $("drop").classList.toggle("over", on);
  };
  panel.addEventListener("dragenter", over(true));
  panel.addEventListener("dragover", over(true));
  panel.addEventListener("dragleave", over(false));
  panel.addEventListener("drop", (event) => {
    over(false)(event);
    take(event.dataTransfer.files[0]);
  });
}

async function take(given) {
  $("file").value = "";
  if (!given) return;
  show($("many-problem"), "");
  if (given.size > largest) {
    show($("many-problem"), `${given.name} has ${bytes(given.size)}; the largest file that this page reads has ${bytes(largest)}. Use POST /predict for more.`);
    return;
  }
  const text = decode(await given.arrayBuffer());
  const plain = /\.txt$/i.test(given.name);
  const rows = plain ? lines(text).map((line) => [line]) : parse(text, delimiterOf(text, given.name));
  if (rows.length === 0) {
    show($("many-problem"), `There is no text in ${given.name}.`);
    return;
  }
  file = { name: given.name, size: given.size, rows, ...(plain ? { column: 0, header: false } : guess(rows)) };
  describe();
  count();
}

function forget() {
  file = null;
  describe();
  count();
}

function describe() {
  $("file-info").hidden = file === null;
  $("lines").hidden = document.querySelector('label[for="lines"]').hidden = file !== null;
  if (!file) return;
  const width = file.rows.reduce((most, row) => Math.max(most, row.length), 0);
  write($("file-name"), file.name);
  write($("file-size"), `${bytes(file.size)}, ${whole.format(file.rows.length)} rows, ${width} ${width === 1 ? "column" : "columns"}`);
  $("column").replaceChildren(...Array.from({ length: width }, (_, i) => el("option", { value: i }, columnName(i))));
  $("column").value = file.column;
  $("header").checked = file.header;
}

const columnName = (i) => (file.header && file.rows[0][i]) || `column ${i + 1}`;

const lines = (text) => text.split(/\r\n|\r|\n/).filter((line) => line.trim() !== "");

/** The rows that are to be labelled, and the names of their fields. */
function input() {
  if (file) {
    const names = Array.from({ length: $("column").options.length }, (_, i) => columnName(i));
    const rows = file.header ? file.rows.slice(1) : file.rows;
    return { names, rows: rows.map((fields, i) => ({ number: i + 1, text: fields[file.column] ?? "", fields })) };
  }
  return { names: ["text"], rows: lines($("lines").value).map((text, i) => ({ number: i + 1, text, fields: [text] })) };
}

function count() {
  const n = file ? file.rows.length - Number(file.header) : lines($("lines").value).length;
  write($("run"), n === 0 ? "Label texts" : n === 1 ? "Label 1 text" : `Label ${whole.format(n)} texts`);
  $("run").disabled = n === 0 || n > mostRows || running !== null;
  show($("many-problem"), n > mostRows && `These are ${whole.format(n)} texts, and this page takes ${whole.format(mostRows)}. Use POST /predict for more.`);
}

async function begin() {
  shown = input();
  $("outcome").hidden = false;
  table.show(shown.rows);
  await run(shown.rows);
}

async function again() {
  const rows = shown.rows.filter((row) => row.error || row.label === undefined);
  for (const row of rows) delete row.error;
  await run(rows);
}

async function run(rows) {
  running = new AbortController();
  busy(true);
  const began = performance.now();
  let note = "";
  const tell = () => progress(note, (performance.now() - began) / 1000);
  for (const row of rows.filter((row) => row.text.trim() === "")) row.error = "there is no text";
  tally = { answered: shown.rows.filter((row) => row.label !== undefined).length, failed: shown.rows.filter((row) => row.error).length };
  try {
    await labelAll(rows.filter((row) => !row.error), {
      ask: task.answers,
      bytes: maxBody,
      signal: running.signal,
      note: (why) => {
        note = why;
        if (why) write($("many-spoken"), why);
        tell();
      },
      done: (row, answer, error) => {
        if (error) row.error = error;
        else Object.assign(row, task.cells(answer));
        tally[error ? "failed" : "answered"]++;
        tell();
        table.refresh();
      },
    });
  } catch (error) {
    if (!running.signal.aborted) throw error;
    note = "cancelled";
  } finally {
    running = null;
    busy(false);
    tell();
    write($("many-spoken"), $("progress-text").textContent);
    table.refresh();
  }
}

function busy(on) {
  // The button that has the focus must not vanish from under it.
  const held = document.activeElement;
  $("cancel").hidden = !on;
  count();
  $("download").disabled = on;
  if (on && held === $("run")) $("cancel").focus();
  if (!on && held === $("cancel")) $("run").focus();
}

function progress(note, seconds) {
  const { rows } = shown;
  const { answered, failed } = tally;
  const ended = running === null;
  $("progress").max = rows.length;
  $("progress").value = answered + failed;
  const parts = [`${whole.format(answered)} of ${whole.format(rows.length)} labelled`];
  if (failed > 0) parts.push(`${whole.format(failed)} failed`);
  if (ended) parts.push(`${seconds.toFixed(1)} s`);
  if (note) parts.push(note);
  write($("progress-text"), parts.join(" · "));
  $("again").hidden = !ended || answered === rows.length;
  write($("again"), note === "cancelled" ? "Go on" : "Try failed ones again");
}

function download() {
  const { names, rows } = shown;
  const taken = names.includes("label") || names.includes("score");
  const failed = rows.some((row) => row.error);
  const head = [...names, ...(taken ? ["predicted_label", "predicted_score"] : ["label", "score"]), ...(failed ? ["error"] : [])];
  const body = rows.map((row) => [
    ...names.map((_, i) => row.fields[i] ?? ""), row.label ?? "", row.score ?? "", ...(failed ? [row.error ?? ""] : []),
  ]);
  const url = URL.createObjectURL(new Blob([format([head, ...body])], { type: "text/csv" }));
  el("a", { href: url, download: "labelled.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
