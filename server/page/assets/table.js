// A table of labelled texts, a page at a time: sorted, filtered, and drawn no more
// often than eyes can follow.
import { $, each, el, percent, whole, write } from "./dom.js";

const perPage = 50;
const calm = 250; // milliseconds from one drawing to the next, at the least
const share = 8; // of the time is for drawing, one part
const failed = " failed"; // no label begins with a space in the list of what to show

const collator = new Intl.Collator(undefined, { sensitivity: "base" });
const columns = {
  number: (a, b) => a.number - b.number,
  text: (a, b) => collator.compare(a.text, b.text),
  label: (a, b) => collator.compare(a.label ?? "", b.label ?? ""),
  score: (a, b) => (a.score ?? -1) - (b.score ?? -1),
};

export class Table {
  #rows = [];
  #by = "number";
  #down = false;
  #page = 0;
  #timer = 0;
  #cost = 0; // milliseconds of the last drawing

  constructor() {
    for (const button of document.querySelectorAll("[data-sort]")) {
      button.addEventListener("click", () => this.#sort(button));
    }
    $("search").addEventListener("input", () => this.#go(0));
    $("only").addEventListener("change", () => this.#go(0));
    $("previous").addEventListener("click", () => this.#go(this.#page - 1));
    $("next").addEventListener("click", () => this.#go(this.#page + 1));
  }

  show(rows) {
    this.#rows = rows;
    $("search").value = "";
    $("only").replaceChildren(el("option", { value: "" }, "All labels"));
    this.#go(0);
  }

  /** Draws what has changed, soon. */
  refresh() {
    this.#timer ||= setTimeout(() => this.#draw(), Math.max(calm, share * this.#cost));
  }

  #go(page) {
    this.#page = page;
    this.#draw();
  }

  #sort(button) {
    const by = button.dataset.sort;
    this.#down = by === this.#by ? !this.#down : by === "score"; // the surest first
    this.#by = by;
    for (const th of document.querySelectorAll("#table th")) th.removeAttribute("aria-sort");
    button.closest("th").setAttribute("aria-sort", this.#down ? "descending" : "ascending");
    this.#go(0);
  }

  #choose() {
    const search = $("search").value.trim().toLowerCase();
    const only = $("only").value;
    const wanted = (row) =>
      (!search || row.text.toLowerCase().includes(search)) && (!only || (only === failed ? Boolean(row.error) : row.kinds?.includes(only)));
    const order = columns[this.#by];
    const sign = this.#down ? -1 : 1;
    // What has no answer is at the end, whichever way it is sorted.
    const open = (row) => (this.#by === "label" || this.#by === "score" ? Number(row.label === undefined) : 0);
    return this.#rows.filter(wanted).sort((a, b) => open(a) - open(b) || sign * order(a, b) || a.number - b.number);
  }

  #draw() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const began = performance.now();
    this.#listLabels();
    const rows = this.#choose();
    const pages = Math.max(1, Math.ceil(rows.length / perPage));
    this.#page = Math.max(0, Math.min(this.#page, pages - 1));
    const first = this.#page * perPage;
    const seen = rows.slice(first, first + perPage);
    if (seen.length === 0) {
      $("rows").replaceChildren(el("tr", {}, el("td", { colSpan: 4, className: "none" }, "No text is like that.")));
    } else {
      if ($("rows").querySelector(".none")) $("rows").replaceChildren();
      each($("rows"), seen, makeRow, drawRow);
    }
    write($("page"), rows.length === 0 ? "" : `${whole.format(first + 1)}–${whole.format(first + seen.length)} of ${whole.format(rows.length)}`);
    $("previous").disabled = this.#page === 0;
    $("next").disabled = this.#page === pages - 1;
    this.#cost = performance.now() - began;
  }

  #listLabels() {
    const labels = [...new Set(this.#rows.flatMap((row) => row.kinds ?? []))].sort(collator.compare);
    const options = [["", "All labels"], ...labels.map((label) => [label, label])];
    if (this.#rows.some((row) => row.error)) options.push([failed, "Failed"]);
    const chosen = $("only").value;
    if (options.length === $("only").options.length) return;
    $("only").replaceChildren(...options.map(([value, text]) => el("option", { value }, text)));
    $("only").value = chosen;
  }
}

function makeRow() {
  return el("tr", {}, el("td", { className: "number" }), el("td"), el("td"), el("td", { className: "number" }));
}

function drawRow(node, row) {
  const [number, text, label, score] = node.children;
  write(number, whole.format(row.number));
  write(text, row.text);
  write(label, row.error ?? row.label ?? "…");
  label.className = row.error ? "error" : "";
  write(score, row.score === undefined ? "" : percent(row.score));
}
