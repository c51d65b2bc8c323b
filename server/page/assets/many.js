// Many texts: pasted lines or a file in, a table with an answer to each out.
import { Problem, readFile } from "./api.js";
import { format } from "./csv.js";
import { $, bytes, el, rate, show, span, whole, write } from "./dom.js";
import { labelAll } from "./labeller.js";
import { Table } from "./table.js";

const mostRows = 100_000;
const previewed = 3; // rows

let task = null;
let maxBody = 0;
let maxFile = 0;
let file = null; // {given, about, rows, how}: how it was asked to be read
let reading = null; // an AbortController
let shown = null; // what is in the table: {rows, names, file}
let running = null; // an AbortController
let tally = { answered: 0, failed: 0 };
let table = null;

export function startMany(next, snapshot) {
  maxBody = snapshot.max_body;
  maxFile = snapshot.max_file;
  if (task === next) return;
  task = next;
  if (table) return;
  table = new Table();
  $("lines").addEventListener("input", count);
  $("choose").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => take($("file").files[0]));
  $("remove").addEventListener("click", () => (forget(), $("lines").focus()));
  for (const id of ["column", "encoding", "delimiter"]) $(id).addEventListener("change", () => overrule({ [id]: $(id).value }));
  $("header").addEventListener("change", () => overrule({ header: $("header").checked ? "yes" : "no", column: "" }));
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
  if (given) await read(given, {});
}

/** Has the file read in another way. */
function overrule(how) {
  return read(file.given, { ...file.how, ...how });
}

/** Has the server read a file, as `distinfer predict` does. */
async function read(given, how) {
  reading?.abort();
  const mine = (reading = new AbortController());
  show($("many-problem"), "");
  if (given.size > maxFile) {
    show($("many-problem"), `${given.name} has ${bytes(given.size)}; the largest file that this page reads has ${bytes(maxFile)}. Use distinfer predict, or POST /predict, for more.`);
    return;
  }
  show($("count"), `Reading ${given.name}`);
  try {
    const { about, rows } = await readFile(given, how, mine.signal);
    if (reading !== mine) return;
    if (rows.length === 0) throw new Problem(400, "there is no text in it");
    file = { given, how, about, rows };
  } catch (error) {
    if (mine.signal.aborted) return;
    show($("many-problem"), error instanceof TypeError ? "The server can't be reached. Choose the file again once it can." : `${given.name}: ${error.message}`);
    if (file?.given !== given) file = null; // else what was read before stays
  } finally {
    if (reading === mine) show($("count"), "");
  }
  describe();
  count();
}

function forget() {
  reading?.abort();
  file = null;
  show($("many-problem"), "");
  describe();
  count();
}

function describe() {
  $("file-info").hidden = file === null;
  $("lines").hidden = document.querySelector('label[for="lines"]').hidden = file !== null;
  if (!file) return;
  const { about, rows, given, how } = file;
  const table = about.delimiter !== "";
  const broken = rows.filter((row) => row.error).length;
  write($("file-name"), given.name);
  write($("file-size"), `${bytes(given.size)}, ${whole.format(rows.length)} ${rows.length === 1 ? "row" : "rows"}${broken > 0 ? `, of which ${whole.format(broken)} can't be read` : ""}`);
  write($("file-kind"), `Read as ${about.as}.${about.column < 0 ? " Say which column holds the texts." : ""}`);
  for (const node of document.querySelectorAll("[data-table]")) node.hidden = !table;
  $("column-choice").hidden = about.columns.length < 2;
  const choices = about.columns.map((name) => el("option", { value: name }, name));
  if (about.column < 0) choices.unshift(el("option", { value: "" }, "choose one"));
  $("column").replaceChildren(...choices);
  $("column").value = about.columns[about.column] ?? "";
  $("encoding").value = how.encoding ?? "";
  $("delimiter").value = how.delimiter ?? "";
  $("header").checked = about.header;
  preview();
}

/** Shows the first rows as they were read. */
function preview() {
  const { about, rows } = file;
  $("preview-head").replaceChildren(el("th", { scope: "col" }, "Line"), ...about.columns.map((name, i) => el("th", { scope: "col", className: i === about.column ? "chosen" : "" }, name)));
  $("preview").replaceChildren(...rows.slice(0, previewed).map((row) => el("tr", {}, el("td", { className: "number" }, String(row.line)), ...(
    row.error ? [el("td", { className: "error", colSpan: about.columns.length }, row.error)] : about.columns.map((_, i) => el("td", { className: i === about.column ? "chosen" : "" }, row.cells?.[i] ?? ""))
  ))));
}

/** The lines of the text area, which has no other ends of lines, as those of a file are read: each that is not empty. */
const lines = (text) => text.split("\n").filter((line) => line !== "");

/** The rows that are to be labelled, and the names of their fields. */
function input() {
  if (file) {
    const { about, rows } = file;
    return { about, names: about.columns, rows: rows.map(({ cells = [], error }, i) => ({ number: i + 1, text: cells[about.column] ?? "", fields: cells, unread: error })) };
  }
  return { names: ["text"], rows: lines($("lines").value).map((text, i) => ({ number: i + 1, text, fields: [text] })) };
}

function count() {
  const n = file ? file.rows.length : lines($("lines").value).length;
  write($("run"), n === 0 ? "Label texts" : n === 1 ? "Label 1 text" : `Label ${whole.format(n)} texts`);
  $("run").disabled = n === 0 || n > mostRows || running !== null || file?.about.column < 0;
  if (n > mostRows) show($("many-problem"), `These are ${whole.format(n)} texts, and this page takes ${whole.format(mostRows)}. Use distinfer predict, or POST /predict, for more.`);
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
  let answered = 0;
  const tell = () => progress(note, (performance.now() - began) / 1000, answered);
  for (const row of rows) {
    if (row.unread) row.error = row.unread;
    else if (row.text.trim() === "") row.error = "there is no text";
  }
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
        answered++;
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
  if (on && held === $("run")) $("cancel").focus();
  if (!on && held === $("cancel")) $("run").focus();
}

function progress(note, seconds, now) {
  const { rows } = shown;
  const { answered, failed } = tally;
  const ended = running === null;
  $("progress").max = rows.length;
  $("progress").value = answered + failed;
  const parts = [`${whole.format(answered)} of ${whole.format(rows.length)} labelled`];
  if (failed > 0) parts.push(`${whole.format(failed)} failed`);
  if (ended) parts.push(`${seconds.toFixed(1)} s`);
  else if (now > 0 && seconds > 1) {
    const left = rows.length - answered - failed;
    parts.push(`${rate(now / seconds)} a second`, `${span((left * seconds) / now)} left`);
  }
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
  const mark = shown.about?.mark ? "\ufeff" : "";
  const url = URL.createObjectURL(new Blob([mark, format([head, ...body], shown.about?.delimiter || ",")], { type: "text/csv" }));
  el("a", { href: url, download: "labelled.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
