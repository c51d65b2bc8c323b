// Labels many texts: some at a time, patient with a busy server, and strict with none
// but the text that is to blame.
import { Problem } from "./api.js";
import { sleep } from "./dom.js";

const together = 32; // texts in a request
const atOnce = 2; // requests
const longest = 8; // seconds from try to try, unless the server asks for more

/**
 * Answers rows, objects with a `text`, by giving each to `done(row, answer, error)`.
 * `ask(texts, signal)` asks the server, and `note` receives why it takes longer, if it
 * does. It throws when the signal is aborted.
 */
export async function labelAll(rows, { ask, bytes, done, note, signal }) {
  const left = chunks(rows, bytes);
  const work = async () => {
    for (let chunk; (chunk = left.next().value); ) await label(chunk, { ask, done, note, signal });
  };
  await Promise.all(Array.from({ length: atOnce }, work));
}

/** Parts rows into requests that are no larger than the server takes. */
function* chunks(rows, bytes) {
  let chunk = [];
  let size = 0;
  for (const row of rows) {
    const more = row.text.length * 3 + 8; // bytes at the most, quotes aside
    if (chunk.length === together || (chunk.length > 0 && size + more > bytes / 2)) {
      yield chunk;
      chunk = [];
      size = 0;
    }
    chunk.push(row);
    size += more;
  }
  if (chunk.length > 0) yield chunk;
}

async function label(chunk, how) {
  let answers;
  try {
    answers = await patiently(chunk, how);
  } catch (error) {
    how.signal.throwIfAborted();
    const blame = error instanceof Problem && [400, 413, 500, 504].includes(error.status);
    if (blame && chunk.length > 1) {
      // One of them is not liked; the others are not to pay for it.
      await label(chunk.slice(0, chunk.length >> 1), how);
      await label(chunk.slice(chunk.length >> 1), how);
      return;
    }
    for (const row of chunk) how.done(row, null, error.message);
    return;
  }
  chunk.forEach((row, i) => how.done(row, answers[i], null));
}

/** Asks until there is an answer: a server that is busy or away is waited for. */
async function patiently(chunk, { ask, note, signal }) {
  const texts = chunk.map((row) => row.text);
  for (let tries = 0; ; tries++) {
    try {
      return await ask(texts, signal);
    } catch (error) {
      signal.throwIfAborted();
      const here = error instanceof Problem;
      if (here && error.status !== 429 && error.status !== 503) throw error;
      const seconds = error.after ?? Math.min(2 ** tries, longest);
      const why = !here ? "the server can't be reached" : error.status === 429 ? "the server is busy" : "the server can't answer now";
      note(`${why}, going on in ${seconds} s`);
      await sleep(seconds * 1000, signal);
      note("");
    }
  }
}
