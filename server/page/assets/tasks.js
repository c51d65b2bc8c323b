// What there is to show for each task: how texts are asked for, how an answer is drawn, and
// what of it goes into a table.
import { ask } from "./api.js";
import { $, each, el, percent, show, whole, write } from "./dom.js";

const most = 8; // labels that are shown at first

const labels = {
  name: "text-classification",
  one: {
    tab: "One text",
    label: "Your text",
    placeholder: "Write something, and the answer follows as you type.",
    nothing: "Nothing to label yet.",
  },
  examples: [
    "A moving film, full of quiet humour.",
    "Two hours that I will never get back.",
    "It was fine, I suppose.",
  ],
  /** Answers texts: for each of them a list of {label, score}, the best first. */
  answers: (texts, signal) => ask("/predict", { inputs: texts }, signal),
  answer: async (text, signal) => (await labels.answers([text], signal))[0],
  /** Draws an answer. */
  draw(scores) {
    write($("best"), scores[0].label);
    const all = $("more").dataset.all === "true";
    each($("scores"), all ? scores : scores.slice(0, most), bar, (node, { label, score }) => {
      const [name, share, track] = node.children;
      write(name, label);
      write(share, percent(score));
      track.firstElementChild.style.width = `${score * 100}%`;
    });
    show($("more"), scores.length > most && (all ? "Show fewer" : `Show all ${scores.length}`));
    $("more").onclick = () => {
      $("more").dataset.all = String(!all);
      labels.draw(scores);
    };
  },
  /** Says an answer in one line, to be read aloud. */
  say: ([{ label, score }]) => `${label}, ${percent(score)}`,
  /** What a table shows of an answer, and the labels that it can be found by. */
  cells: ([{ label, score }]) => ({ label, score, kinds: [label] }),
};

function bar() {
  return el("li", {}, el("span"), el("span", { className: "share" }), track());
}

function track() {
  const node = el("div", { className: "track" }, el("div", { className: "fill" }));
  node.setAttribute("aria-hidden", "true");
  return node;
}

const colours = 5; // of style.css

const entities = {
  name: "token-classification",
  one: {
    tab: "One text",
    label: "Your text",
    placeholder: "Write something, and what is found in it follows as you type.",
    nothing: "Nothing to look for yet.",
  },
  examples: ["Ada Lovelace met Charles Babbage in London.", "The film was shot in Iceland for a studio of Los Angeles."],
  /** Answers texts: for each of them a list of {entity_group, score, word, start, end}. */
  answers: (texts, signal) => ask("/predict", { inputs: texts, parameters: { aggregation_strategy: "simple" } }, signal),
  answer: async (text, signal) => (await entities.answers([text], signal))[0],
  draw(found, text) {
    const points = [...text]; // start and end count code points
    const kinds = [...new Set(found.map((entity) => entity.entity_group))].sort();
    const parts = [];
    let at = 0;
    for (const { entity_group: kind, score, start, end } of found) {
      parts.push(points.slice(at, start).join(""));
      const mark = el("mark", {}, points.slice(start, end).join(""), el("small", {}, ` ${kind} ${percent(score)}`));
      mark.dataset.colour = kinds.indexOf(kind) % colours;
      parts.push(mark);
      at = end;
    }
    $("marked").replaceChildren(...parts, points.slice(at).join(""));
    write($("found"), found.length === 0 ? "Nothing was found in this text." : `${whole.format(found.length)} found`);
  },
  say: (found, text) => (found.length === 0 ? "Nothing was found" : found.map((entity) => `${spelt(entity, text)}, ${entity.entity_group}`).join("; ")),
  cells: (found) => ({
    label: found.map(({ word, entity_group: kind }) => `${word} (${kind})`).join(", "),
    score: found.length === 0 ? undefined : Math.min(...found.map(({ score }) => score)), // the least sure
    kinds: [...new Set(found.map((entity) => entity.entity_group))],
  }),
};

const spelt = ({ start, end }, text) => [...text].slice(start, end).join("");

const fewest = 2;
const largest = 12; // texts that are compared

const linesOf = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

const embeddings = {
  name: "feature-extraction",
  one: {
    tab: "Compare texts",
    label: "Two or more texts, one a line",
    placeholder: "Write two lines or more, and how alike they are follows as you type.",
    nothing: "Nothing to compare yet.",
  },
  examples: ["A moving film.\nA touching picture.\nThe train is late."],
  /** What is still wanting of a text before it can be asked for. */
  wanting(text) {
    const n = linesOf(text).length;
    if (n < fewest) return "Another line, and the two are compared.";
    return n > largest ? `${whole.format(n)} lines are more than the ${largest} that are compared here. Use POST /embed for more.` : "";
  },
  /** Answers lines: for each pair of them how alike they are, the cosine of their vectors. */
  async answer(text, signal) {
    const vectors = await ask("/embed", { inputs: linesOf(text) }, signal);
    return vectors.map((a) => vectors.map((b) => cosine(a, b)));
  },
  draw(alike, text) {
    const [i, j] = closest(alike);
    write($("closest"), two.format(alike[i][j]));
    write($("closest-text"), alike.length === fewest ? "cosine similarity of the two, at most 1" : `cosine similarity of ${i + 1} and ${j + 1}, the closest two`);
    $("alike-head").replaceChildren(el("th", { scope: "col" }, "Text"), ...alike.map((_, k) => el("th", { scope: "col", className: "number" }, String(k + 1))));
    const lines = linesOf(text);
    $("alike").replaceChildren(...alike.map((row, k) => el("tr", {}, el("th", { scope: "row" }, `${k + 1}  ${lines[k]}`), ...row.map(cell))));
  },
  say(alike) {
    const [i, j] = closest(alike);
    return `${i + 1} and ${j + 1} are closest, ${two.format(alike[i][j])}`;
  },
};

const two = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

function cosine(a, b) {
  const dot = (x, y) => x.reduce((sum, value, k) => sum + value * y[k], 0);
  return dot(a, b) / (Math.sqrt(dot(a, a) * dot(b, b)) || 1);
}

/** The two that are most alike. */
function closest(alike) {
  let best = [0, 1];
  alike.forEach((row, i) => row.forEach((value, j) => {
    if (i < j && value > alike[best[0]][best[1]]) best = [i, j];
  }));
  return best;
}

function cell(value) {
  const node = track();
  node.firstElementChild.style.width = `${Math.max(0, value) * 100}%`;
  return el("td", { className: "number" }, two.format(value), node);
}

export const tasks = [labels, entities, embeddings];
