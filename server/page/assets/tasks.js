// What there is to show for each task: how an answer to one text is drawn, and what of
// it goes into a table.
import { $, each, el, percent, show, write } from "./dom.js";

const most = 8; // labels that are shown at first

const classification = {
  examples: [
    "A moving film, full of quiet humour.",
    "Two hours that I will never get back.",
    "It was fine, I suppose.",
  ],
  /** Draws an answer, a list of {label, score}. */
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
      classification.draw(scores);
    };
  },
  /** Says an answer in one line, to be read aloud. */
  say: ([{ label, score }]) => `${label}, ${percent(score)}`,
  /** What a table shows of an answer. */
  cells: ([{ label, score }]) => ({ label, score }),
};

function bar() {
  const track = el("div", { className: "track" }, el("div", { className: "fill" }));
  track.setAttribute("aria-hidden", "true");
  return el("li", {}, el("span"), el("span", { className: "share" }), track);
}

export const tasks = { "text-classification": classification };
