// One text, answered as it is typed: the latest wins, and earlier requests are given up.
import { Problem } from "./api.js";
import { $, el, milliseconds, show, sleep, write } from "./dom.js";

const pause = 180; // milliseconds without a key until it is asked
let task = null;
let current = null;

/** Begins to answer, or shows another task's way of it. */
export function startOne(next) {
  if (task === next) return;
  task = next;
  write($("tab-one"), task.one.tab);
  write($("text-label"), task.one.label);
  $("text").placeholder = task.one.placeholder;
  write($("nothing"), task.one.nothing);
  for (const result of document.querySelectorAll("#result > *")) result.hidden = result.dataset.task !== task.name;
  $("examples").replaceChildren(
    el("span", {}, "Or try"),
    ...task.examples.map((text) => el("button", { type: "button", onclick: () => fill(text) }, text)),
  );
  $("text").addEventListener("input", answer);
  if ($("text").value) answer();
}

/** Asks again for what could not be answered. */
export function askAgain() {
  if (!$("problem").hidden) answer();
}

function fill(text) {
  $("text").value = text;
  $("text").focus();
  answer();
}

async function answer() {
  current?.abort();
  const mine = (current = new AbortController());
  const text = $("text").value;
  const wanting = text.trim() === "" ? "" : task.wanting?.(text);
  if (text.trim() === "" || wanting) {
    state({ took: wanting });
    return;
  }
  $("answer").classList.add("stale");
  try {
    await sleep(pause, mine.signal);
    const [result, took] = await ask(text, mine.signal);
    if (current !== mine) return;
    task.draw(result, text);
    state({ result: true, took: `Answered in ${milliseconds(took)}` });
    await sleep(700, mine.signal); // whoever types on is not to be talked over
    write($("spoken"), task.say(result, text));
  } catch (error) {
    if (mine.signal.aborted || current !== mine) return;
    state({ problem: error instanceof Problem ? error.message : "The server can't be reached. Your text is asked again once it can." });
  }
}

async function ask(text, signal) {
  for (let tries = 0; ; tries++) {
    const began = performance.now();
    try {
      const result = await task.answer(text, signal);
      return [result, performance.now() - began];
    } catch (error) {
      if (!(error instanceof Problem && error.status === 429) || tries === 5) throw error;
      write($("took"), "The server is busy; a moment");
      await sleep((error.after ?? 1) * 1000, signal);
    }
  }
}

function state({ result = false, problem = "", took = "" }) {
  $("answer").classList.remove("stale");
  $("empty").hidden = result || problem !== "";
  $("result").hidden = !result;
  show($("problem"), problem);
  write($("took"), took);
  if (!result) write($("spoken"), problem);
}
