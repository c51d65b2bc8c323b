// Labels many texts: some at a time, patient with a busy server, and strict with none
// but the text that is to blame.
import { Problem, predict } from "./api.js";
import { sleep } from "./dom.js";

const together = 32; // texts in a request
const atOnce = 2; // requests
const patience = 5; // tries of what does not get better

/**
 * Answers rows, objects with a `text`, by giving each to `done(row, answer, error)`.
 * `note` is told why it takes longer, if it does. It throws when the signal is aborted.
 */
export async function labelAll(rows, { bytes, done, note, signal }) {
  const left = chunks(rows, bytes);
  const work = async () => {
    for (let chunk; (chunk = left.next().value); ) await label(chunk, { done, note, signal });
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
    const why = error instanceof Problem ? error.message : "the server can't be reached";
    for (const row of chunk) how.done(row, null, why);
    return;
  }
  chunk.forEach((row, i) => how.done(row, answers[i], null));
}

async function patiently(chunk, { note, signal }) {
  const texts = chunk.map((row) => row.text);
  for (let tries = 1; ; tries++) {
    try {
      return await predict(texts, signal);
    } catch (error) {
      signal.throwIfAborted();
      const busy = error instanceof Problem && error.status === 429;
      const away = !(error instanceof Problem) || error.status === 503;
      if (!busy && (!away || tries === patience)) throw error;
      const seconds = error.after ?? Math.min(2 ** (tries - 1), 8);
      note(busy ? `the server is busy, going on in ${seconds} s` : `the server can't answer now, trying again in ${seconds} s`);
      await sleep(seconds * 1000, signal);
      note("");
    }
  }
}
