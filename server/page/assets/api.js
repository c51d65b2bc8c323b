// Asks the server, with a token where it wants one.
import { $, sleep, write } from "./dom.js";

const place = "distinfer-token";

/** What the server answered instead of what was asked for. */
export class Problem extends Error {
  constructor(status, message, after) {
    super(message);
    this.status = status;
    this.after = after; // seconds until another try is worth it, if the server said so
  }
}

const token = () => sessionStorage.getItem(place);

/** Asks for a path, as often as it takes to have the right token. */
async function request(path, init = {}) {
  for (;;) {
    const sent = token();
    const headers = { ...init.headers, ...(sent && { Authorization: `Bearer ${sent}` }) };
    const response = await fetch(path, { ...init, headers, cache: "no-store", credentials: "omit" });
    if (response.status !== 401) return response;
    await response.body?.cancel();
    if (sent === token()) await askForToken(sent !== null); // or another request has asked meanwhile
    init.signal?.throwIfAborted();
  }
}

let asking = null;

function askForToken(refused) {
  asking ??= new Promise((resolve) => {
    sessionStorage.removeItem(place);
    $("forget").hidden = true;
    write($("token-problem"), refused ? "This token is not known here. Another one?" : "");
    $("token").value = "";
    $("dialog").showModal();
    $("token-form").onsubmit = (event) => {
      event.preventDefault();
      const given = $("token").value.trim();
      if (!/^[A-Za-z0-9\-._~+/=]+$/.test(given)) {
        write($("token-problem"), "A token has ASCII letters, digits and -._~+/= only.");
        return;
      }
      sessionStorage.setItem(place, given);
      $("forget").hidden = false;
      $("dialog").close();
      asking = null;
      resolve();
    };
  });
  return asking;
}

/** Shows what there is to do with a token that an earlier look left in the tab. */
export function startTokens() {
  $("forget").hidden = token() === null;
  $("forget").addEventListener("click", () => {
    sessionStorage.removeItem(place);
    location.reload();
  });
  // There is nothing to see without a token, so Escape leads nowhere.
  $("dialog").addEventListener("cancel", (event) => event.preventDefault());
}

async function checked(response) {
  if (response.ok) return response;
  const text = await response.text();
  let message = text.trim() || `The server answered ${response.status}.`;
  try {
    message = JSON.parse(text).error ?? message;
  } catch {
    // it was plain text
  }
  throw new Problem(response.status, message, Number(response.headers.get("Retry-After")) || undefined);
}

/** Asks for texts: the answer is a list with what the model's task gives for each of them. */
export async function ask(path, question, signal) {
  const body = JSON.stringify(question);
  const response = await checked(await request(path, { method: "POST", headers: { "Content-Type": "application/json" }, body, signal }));
  return response.json();
}

/** Has a file read: what it is, its rows as {line, cells} or {line, error}, and why there are no more. */
export async function readFile(file, how, signal) {
  const query = new URLSearchParams(Object.entries({ name: file.name, ...how }).filter(([, value]) => value));
  const headers = { "Content-Type": "application/octet-stream" };
  const response = await checked(await request(`/rows?${query}`, { method: "POST", headers, body: file, signal }));
  const rows = (await response.text()).trimEnd().split("\n").map((line) => JSON.parse(line));
  const last = rows.pop();
  if (!last.end) throw new Error("The server stopped in the middle of the file. Choose it again.");
  if (last.error) throw new Problem(400, last.error);
  return { about: last.about, rows: rows.slice(1) };
}

// How long the server may be silent. It sends a snapshot a second.
const silence = 5000;

/** Gives every snapshot to `see`, and tells `lost` why there is none, for as long as the page is open. */
export async function watch(see, lost) {
  for (let tries = 0; ; tries++) {
    await visible();
    const quiet = new AbortController();
    const hide = () => document.hidden && quiet.abort();
    document.addEventListener("visibilitychange", hide);
    try {
      for await (const snapshot of events(quiet)) {
        tries = 0;
        see(snapshot);
      }
    } catch (error) {
      if (error instanceof Problem && error.status === 503) await look(see, error);
      else if (!document.hidden) lost(error);
    } finally {
      document.removeEventListener("visibilitychange", hide);
    }
    await sleep(Math.min(500 * 2 ** tries, 5000));
  }
}

/** Nobody looks at a hidden tab. */
function visible() {
  if (!document.hidden) return undefined;
  return new Promise((resolve) => {
    const check = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", check);
      resolve();
    };
    document.addEventListener("visibilitychange", check);
  });
}

/** Too many listen already: one look, and a while until the next. */
async function look(see, refused) {
  try {
    see(await (await checked(await request("/status"))).json());
  } catch {
    // the next try tells
  }
  await sleep((refused.after ?? 5) * 1000);
}

async function* events(controller) {
  const response = await checked(await request("/events", { signal: controller.signal }));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const timer = setTimeout(() => controller.abort(new Error("nothing was heard for a while")), silence);
    const { value, done } = await reader.read().finally(() => clearTimeout(timer));
    if (done) throw new Error("the connection ended");
    text += value;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      if (text.startsWith("data: ")) yield JSON.parse(text.slice(6, end));
    }
  }
}
