// Where a page matches: one grid of cosines for each word, blended here and laid over the picture.
import * as api from "./api.js";
import { $, el } from "./dom.js";
import { answered, known } from "./server.js";

const SOFT = 8;

const canvas = $("#heat");
const section = $("#words");
const rows = $("#words ul");

/**
 * From 0 to 1, soft at both ends: a cell that is a little like a word stays white. Between which cosines depends on the
 * model, not on the page: what is weak everywhere stays pale everywhere.
 */
function share(cosine, [weak, strong]) {
  const within = Math.min(1, Math.max(0, (cosine - weak) / (strong - weak)));
  return within ** 2 * (3 - 2 * within);
}

/** Colours of the 256 cosines, from white (multiplied: nothing) to orange. */
function rampOf(range) {
  const stops = [
    [255, 255, 255],
    [255, 238, 186],
    [255, 200, 112],
    [255, 148, 66],
  ];
  return Array.from({ length: 256 }, (_, value) => {
    const at = share(value / 255, range) * (stops.length - 1);
    const from = Math.min(stops.length - 2, Math.floor(at));
    return stops[from].map((part, channel) => part + (stops[from + 1][channel] - part) * (at - from));
  });
}

let grid = null;
let off = new Set();
let offFor = "";
let visible = true;
let alone = null;
let refused = "";
let running = null;
let heard = () => {};

/** Words of the question that are switched on, for the text panel. */
export const shownWords = () => (grid?.words ?? []).filter((word) => !off.has(word.text)).map((word) => word.text);

/** Asks for the grids of a page and shows them; `hear` hears of every change of words. */
export async function showHeat(id, q, hear) {
  heard = hear;
  running?.abort();
  running = new AbortController();
  clear();
  if (offFor !== q) {
    off = new Set();
    offFor = q;
  }
  const { signal } = running;
  await answered;
  if (!q || signal.aborted || known.about.model.state !== "ready") return;
  if (refused) return explain();
  try {
    const answer = await cached(id, q, signal);
    if (signal.aborted) return;
    if (answer.reason) refused = answer.reason;
    if (refused) return explain();
    if (!answer.words.length) return;
    grid = {
      ...answer,
      ramp: rampOf(answer.range),
      words: answer.words.map((word) => ({ ...word, cells: Uint8Array.from(atob(word.map), (c) => c.charCodeAt(0)) })),
    };
    list();
    draw();
    heard();
  } catch (error) {
    if (!api.isExpected(error)) throw error;
  }
}

const maps = new Map();
async function cached(id, q, signal) {
  const key = `${id} ${q}`;
  if (!maps.has(key)) {
    const answer = await api.heat(id, q, signal);
    if (maps.size > 50) maps.delete(maps.keys().next().value);
    maps.set(key, answer);
  }
  return maps.get(key);
}

/** Another model: other maps, and perhaps some where there were none. */
export function forgetHeat() {
  maps.clear();
  refused = "";
}

/** Says why there is no map; without any other reason the page is shown as it is. */
function explain() {
  section.hidden = false;
  $("#heat-switch").hidden = true;
  rows.replaceChildren(el("li.hint", null, refused));
}

function clear() {
  grid = null;
  alone = null;
  section.hidden = true;
  canvas.hidden = true;
}

function list() {
  section.hidden = false;
  $("#heat-switch").hidden = false;
  rows.replaceChildren(
    ...grid.words.map((word, index) => {
      const preview = (one) => {
        alone = one;
        draw();
      };
      const bar = el("span.share", { "aria-hidden": "true" }, el("span"));
      bar.firstChild.style.inlineSize = `${Math.round(share(word.best, grid.range) * 100)}%`;
      const button = el(
        "button",
        {
          type: "button",
          "aria-pressed": String(!off.has(word.text)),
          title: `Best cosine ${word.best.toFixed(2)}`,
          onclick: () => toggle(index),
          onpointerenter: (event) => event.pointerType === "mouse" && preview(word),
          onpointerleave: () => preview(null),
        },
        index < 9 && el("kbd", null, index + 1),
        el("span.word", null, word.text),
        bar,
        el("span.best", null, word.best.toFixed(2)),
      );
      return el("li", null, button);
    }),
  );
}

/** Switches a word on or off; words count from 0. */
export function toggle(index) {
  const word = grid?.words[index];
  if (!word) return;
  if (!off.delete(word.text)) off.add(word.text);
  rows.querySelectorAll("button")[index].setAttribute("aria-pressed", String(!off.has(word.text)));
  alone = null;
  draw();
  heard();
}

export function switchHeat() {
  visible = !visible;
  $("#heat-switch").setAttribute("aria-pressed", String(visible));
  $("#sheet").classList.toggle("plain", !visible);
  draw();
}

/** Paints the strongest of the words in each cell; the browser makes it soft. */
function draw() {
  const words = alone ? [alone] : (grid?.words ?? []).filter((word) => !off.has(word.text));
  canvas.hidden = !grid || !words.length || (!visible && !alone);
  if (canvas.hidden) return;
  const { columns, rows: lines, ramp } = grid;
  const image = new ImageData(columns, lines);
  for (let cell = 0; cell < columns * lines; cell++) {
    let best = 0;
    for (const word of words) if (word.cells[cell] > best) best = word.cells[cell];
    image.data.set(ramp[best], cell * 4);
    image.data[cell * 4 + 3] = 255;
  }
  const small = new OffscreenCanvas(columns, lines);
  small.getContext("2d").putImageData(image, 0, 0);
  canvas.width = columns * SOFT;
  canvas.height = lines * SOFT;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}
