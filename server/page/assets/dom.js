// Small things to write the document with. Nothing here takes markup.

export const $ = (id) => document.getElementById(id);

/** Makes an element with properties and children. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** Sets a text, unless it is there already: screen readers and selections stay calm. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Shows a text, or hides its element when there is none. */
export function show(node, text) {
  node.hidden = !text;
  write(node, text || "");
}

/** Gives a list an element for each item, and has each drawn. */
export function each(parent, items, make, draw) {
  while (parent.children.length > items.length) parent.lastElementChild.remove();
  items.forEach((item, i) => {
    const node = parent.children[i] ?? parent.appendChild(make(item));
    draw(node, item, i);
  });
}

export const whole = new Intl.NumberFormat("en");
const tenth = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

export const percent = (share) => `${tenth.format(share * 100)} %`;
export const rate = (n) => (n >= 100 || n === 0 ? whole.format(Math.round(n)) : tenth.format(n));

export function milliseconds(n) {
  if (n >= 10000) return `${tenth.format(n / 1000)} s`;
  return n >= 100 ? `${whole.format(Math.round(n))} ms` : n >= 0.05 || n === 0 ? `${tenth.format(n)} ms` : "< 0.1 ms";
}

/** A time to wait, in seconds, as people say it. */
export function span(seconds) {
  if (seconds < 90) return `${whole.format(Math.ceil(seconds))} s`;
  return seconds < 5400 ? `${whole.format(Math.round(seconds / 60))} min` : `${tenth.format(seconds / 3600)} h`;
}

export function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  for (; n >= 1000 && i < units.length - 1; i++) n /= 1000;
  return `${i === 0 || n >= 100 ? whole.format(Math.round(n)) : tenth.format(n)} ${units[i]}`;
}

/** Waits, or throws when the signal is aborted first. */
export function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    const end = () => (clearTimeout(timer), reject(signal.reason));
    const timer = setTimeout(() => (signal?.removeEventListener("abort", end), resolve()), ms);
    if (signal?.aborted) end();
    else signal?.addEventListener("abort", end, { once: true });
  });
}
