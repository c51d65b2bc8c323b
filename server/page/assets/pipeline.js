// The pipeline as it is: every stage and replica, what is in flight, and where the time
// of the last answer went.
import { $, bytes, each, el, milliseconds, percent, rate, show, whole, write } from "./dom.js";

const minute = 60;
const history = new Array(minute).fill(0); // texts a second, of the last minute
const known = new Map(); // condition by stage and address

export function drawPipeline(snapshot) {
  history.push(snapshot.rates.texts);
  history.shift();
  show($("not-ready"), !snapshot.ready && snapshot.not_ready);
  drawTiles(snapshot);
  drawFlow(snapshot);
  drawLast(snapshot.last);
  announce(snapshot);
}

function drawTiles({ rates, queue }) {
  const tiles = [
    ["Texts", rate(rates.texts), "/ s", true],
    ["Batches", rate(rates.batches), "/ s"],
    ["Texts in a batch", rates.batches > 0 ? rate(rates.texts / rates.batches) : "–", ""],
    ["Waiting", whole.format(queue.waiting), queue.waiting === 1 ? "text" : "texts"],
    ["Wait for a batch", rates.batches > 0 ? milliseconds(rates.waited_ms) : "–", ""],
    ["Batches in flight", whole.format(queue.batches_in_flight), `of ${queue.batches_in_flight_target}`],
  ];
  each($("tiles"), tiles, makeTile, (node, [name, value, unit, line]) => {
    write(node.children[0], name);
    write(node.children[1].children[0], value);
    write(node.children[1].children[1], unit && ` ${unit}`);
    if (line) spark(node);
  });
}

const makeTile = () => el("div", {}, el("dt"), el("dd", {}, el("span"), el("small")));

function spark(node) {
  const space = "http://www.w3.org/2000/svg";
  let line = node.querySelector("polyline");
  if (!line) {
    const svg = document.createElementNS(space, "svg");
    svg.setAttribute("viewBox", `0 0 ${minute - 1} 20`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    line = document.createElementNS(space, "polyline");
    svg.append(line);
    node.children[1].append(svg);
  }
  const top = Math.max(1, ...history);
  line.setAttribute("points", history.map((n, i) => `${i},${(19 - (18 * n) / top).toFixed(1)}`).join(" "));
}

function drawFlow({ stages, queue }) {
  const front = { rank: -1, queue };
  each($("flow"), [front, ...stages], (item) => (item.rank < 0 ? makeFront() : makeStage()), (node, item) => {
    if (item.rank < 0) drawFront(node, item);
    else drawStage(node, item);
  });
}

const makeFront = () => el("li", {}, el("h3", {}, "Front"), el("p", { className: "meta" }, "Tokenises, gathers batches, answers"), el("p", { className: "meta" }));

function drawFront(node, { queue }) {
  write(node.children[2], queue.texts_in_flight === 0 ? "Nothing to do" : `${whole.format(queue.texts_in_flight)} ${queue.texts_in_flight === 1 ? "text" : "texts"} in flight`);
}

function makeStage() {
  const track = el("div", { className: "track" }, el("div", { className: "fill" }));
  track.setAttribute("aria-hidden", "true");
  return el("li", {},
    el("h3", {}, el("b"), el("span")),
    el("p", { className: "meta" }),
    el("p", { className: "busy" }, el("span", {}, "Busy"), track, el("span")),
    el("ul", { className: "replicas" }));
}

function drawStage(node, stage) {
  const [title, about, busy, replicas] = node.children;
  const ready = stage.replicas.filter((replica) => replica.condition === "ready").length;
  node.dataset.state = ready === 0 ? "bad" : "good";
  write(title.children[0], `Stage ${stage.rank}`);
  write(title.children[1], stage.replicas.length > 1 ? `${ready} of ${stage.replicas.length} ready` : ready ? "ready" : "not ready");
  write(about, `${bytes(stage.parameter_bytes)} of weights, ${Math.round(stage.cost * 100)} % of the work`);
  busy.children[1].firstElementChild.style.width = `${stage.busy * 100}%`;
  write(busy.children[2], percent(stage.busy));
  each(replicas, stage.replicas, makeReplica, drawReplica);
}

const makeReplica = () => el("li", {}, el("span", { className: "dot" }), el("span", { className: "address" }), el("span", { className: "condition" }));

const conditions = {
  ready: "ready", ejected: "ejected: slow, used only if there is no other", down: "can't be used", wrong: "serves something else", unknown: "not observed yet",
};

const conditionOf = (replica) => (replica.ejected ? "ejected" : replica.condition);

function drawReplica(node, replica) {
  const condition = conditionOf(replica);
  node.dataset.condition = condition;
  write(node.children[1], replica.address);
  const calls = replica.calls === 0 ? "" : replica.calls === 1 ? ", 1 call in flight" : `, ${replica.calls} calls in flight`;
  write(node.children[2], conditions[condition] + calls + (replica.error ? `: ${replica.error}` : ""));
}

/** Tells those who do not see it which replicas went and came. */
function announce({ stages }) {
  const news = [];
  for (const stage of stages) {
    for (const replica of stage.replicas) {
      const key = `${stage.rank} ${replica.address}`;
      const before = known.get(key);
      const now = conditionOf(replica);
      if (before && before !== now) news.push(`Stage ${stage.rank} at ${replica.address}: ${conditions[now]}`);
      known.set(key, now);
    }
  }
  if (news.length > 0) write($("changes"), news.join(". "));
}

function drawLast(last) {
  $("no-last").hidden = Boolean(last);
  $("last").hidden = !last;
  if (!last) return;
  const lanes = [
    { name: "Tokenize", parts: [["front", last.tokenize_ms]] },
    { name: "Queue", parts: [["queue", last.waiting_ms]] },
    ...(last.stages ?? []).map((stage) => ({
      name: `Stage ${stage.rank}`,
      parts: [["transfer", stage.transfer_ms], ["queue", stage.waited_ms], ["compute", stage.computed_ms]],
    })),
  ];
  if (!last.stages) lanes.push({ name: "Stages", parts: [["compute", last.took_ms]] });
  const total = last.tokenize_ms + last.waiting_ms + last.took_ms;
  let at = 0;
  each($("waterfall"), lanes, makeLane, (node, { name, parts }) => {
    const [title, lane, time] = node.children;
    write(title, name);
    each(lane, parts, () => el("i"), (bar, [kind, took]) => {
      bar.className = kind;
      bar.hidden = took === 0;
      bar.style.left = `${(at / total) * 100}%`;
      bar.style.width = `${(took / total) * 100}%`;
      at += took;
    });
    write(time.children[0], milliseconds(parts.reduce((sum, [, took]) => sum + took, 0)));
    write(time.children[1], parts.length === 1 ? "" : `: network ${milliseconds(parts[0][1])}, waiting ${milliseconds(parts[1][1])}, computing ${milliseconds(parts[2][1])}`);
  });
  const ago = last.ago_ms < 1500 ? "just now" : last.ago_ms < 60_000 ? `${Math.round(last.ago_ms / 1000)} s ago` : `${whole.format(Math.round(last.ago_ms / 60_000))} min ago`;
  write($("last-text"), `${milliseconds(total)} in all, ${last.texts === 1 ? "a text by itself" : `in a batch of ${last.texts} texts`}, ${ago}`);
}

function makeLane() {
  const lane = el("div", { className: "lane" });
  lane.setAttribute("aria-hidden", "true");
  return el("li", {}, el("span"), lane, el("span", { className: "time" }, el("span"), el("span", { className: "hidden" })));
}
