// Small helpers to build elements. Strings become text nodes: nothing that a PDF says is ever read as HTML.

export const $ = (selector, root = document) => root.querySelector(selector);

/** `el("a.name", {href, onclick}, "text", child)`; null and false among the children are left out. */
export function el(tag, attributes, ...children) {
  const [name, ...classes] = tag.split(".");
  const made = document.createElement(name);
  if (classes.length) made.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** An icon of the sprite in index.html. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Text with ranges of it (UTF-16 offsets) in `<mark>`; ranges may overlap. */
export function marked(text, ranges) {
  const made = document.createDocumentFragment();
  let end = 0;
  for (const [from, to] of [...ranges].sort((a, b) => a[0] - b[0])) {
    if (from < end) continue;
    made.append(text.slice(end, from), el("mark", null, text.slice(from, to)));
    end = to;
  }
  made.append(text.slice(end));
  return made;
}

/** Where any of the words stands in the text, for `marked`. */
export function find(text, words) {
  const wanted = words.filter((word) => word.length > 1).map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  if (!wanted.length) return [];
  const pattern = new RegExp(`(?<![\\p{L}\\p{N}])(?:${wanted.join("|")})`, "giu");
  return [...text.matchAll(pattern)].map((found) => [found.index, found.index + found[0].length]);
}

export const number = (value) => value.toLocaleString("en");
export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;
export const list = (words) => new Intl.ListFormat("en").format(words);

/** A name as people say it: without its ending. */
export const short = (manual) => manual.replace(/\.pdf$/i, "");

/** "page 25 (labelled 22)"; the label is left out where it is the number. */
export function pageName({ page, label }) {
  return label && label !== String(page) ? `page ${page} (labelled ${label})` : `page ${page}`;
}

export function bytes(count) {
  const units = ["bytes", "KB", "MB", "GB", "TB"];
  let at = 0;
  for (; count >= 1000 && at < units.length - 1; at++) count /= 1000;
  return `${count < 10 && at > 0 ? count.toFixed(1) : Math.round(count)} ${units[at]}`;
}

/** "40 s", "3 min", "2 h 5 min"; rounded up, since it is an estimate. */
export function duration(seconds) {
  if (seconds < 55) return `${Math.max(1, Math.ceil(seconds / 5)) * 5} s`;
  const minutes = Math.ceil(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function pause(call, milliseconds) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(call, milliseconds, ...values);
  };
}

const kept = new WeakMap();
/** Keeps one element for each item, so that focus and open details survive; `make(item)` gives `{node, update}`. */
export function keyed(container, items, keyOf, make) {
  const before = kept.get(container) ?? new Map();
  const now = new Map();
  items.forEach((item, index) => {
    const key = keyOf(item);
    const row = before.get(key) ?? make(item);
    now.set(key, row);
    row.update(item);
    if (container.children[index] !== row.node) container.insertBefore(row.node, container.children[index] ?? null);
  });
  for (const [key, row] of before) if (!now.has(key)) row.node.remove();
  kept.set(container, now);
}
