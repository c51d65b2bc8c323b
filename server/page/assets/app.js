// Brings the parts of the page together.
import { startTokens, watch } from "./api.js";
import { $, bytes, show, write } from "./dom.js";
import { startMany } from "./many.js";
import { askAgain, startOne } from "./one.js";
import { drawPipeline } from "./pipeline.js";
import { tasks } from "./tasks.js";

const tabs = ["one", "many"].map((name) => ({ tab: $(`tab-${name}`), panel: $(`panel-${name}`) }));
let task = null;

function choose(chosen) {
  for (const { tab, panel } of tabs) {
    tab.setAttribute("aria-selected", String(tab === chosen));
    tab.tabIndex = tab === chosen ? 0 : -1;
    panel.hidden = tab !== chosen || task === null;
  }
}

function startTabs() {
  tabs.forEach(({ tab }, i) => {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowLeft: i - 1, ArrowRight: i + 1, Home: 0, End: -1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const next = tabs.at(to % tabs.length).tab;
      choose(next);
      next.focus();
    });
  });
}

/** Shows what the model can be asked, or why it can be asked nothing here. */
function drawTask(snapshot) {
  const next = tasks.find(({ name }) => name === snapshot.task) ?? null;
  if (next) {
    startOne(next);
    startMany(next, snapshot);
  }
  show($("no-text"), !next && (snapshot.no_text || `This page does not know how to show the task ${snapshot.task} yet; ask from a program.`));
  document.querySelector(".tabs").hidden = !next;
  if (next === task) return;
  task = next;
  $("tab-many").hidden = !task?.cells;
  if (!task?.cells) return choose($("tab-one"));
  choose(tabs.find(({ tab }) => tab.getAttribute("aria-selected") === "true").tab);
}

function see(snapshot) {
  const { model } = snapshot;
  if (snapshot.ready && $("state").dataset.state === "bad") askAgain();
  write($("model"), `${model.name} · ${bytes(model.bytes)} in ${snapshot.stages.length === 1 ? "one stage" : `${snapshot.stages.length} stages`} · bundle ${model.bundle}`);
  state(snapshot.ready ? "good" : "bad", snapshot.ready ? "Ready" : "Not ready");
  write($("live"), "Live, once a second");
  drawTask(snapshot);
  drawPipeline(snapshot);
}

function lost() {
  state("bad", "No connection");
  write($("live"), "The server can't be reached; trying again");
}

function state(kind, text) {
  $("state").dataset.state = kind;
  write($("state"), text);
}

startTabs();
startTokens();
write($("curl"), `curl ${location.origin}/predict -d '{"inputs": ["a lovely film", "a waste of time"]}'`);
watch(see, lost);
