// The picture of a page: its thumbnail at once, then the rendering that is as wide as it is shown.
import * as api from "./api.js";
import { $ } from "./dom.js";

/** Few widths, so that the server's cache is hit. */
const WIDTHS = [1000, 1600, 2400, 3000];

const small = $("#small");
const picture = $("#picture");

let page = null;
let width = 0;
let wanted = 0;
let rendered = true;
let failed = () => {};

const widthFor = (pixels) => WIDTHS.find((width) => width >= pixels * 0.95) ?? WIDTHS.at(-1);

/** Shows a page; `renders` is false where its file is gone and only the thumbnail is left. */
export function showPicture(next, { renders, alt, onFail }) {
  page = next;
  width = 0;
  rendered = renders;
  failed = onFail;
  picture.hidden = true;
  picture.alt = alt;
  small.src = api.thumbnail(page);
  small.alt = renders ? "" : alt;
  if (renders) load(wanted);
}

/** Tells how many device pixels the page takes; a sharper rendering comes when it is needed. */
export function needWidth(pixels) {
  wanted = widthFor(pixels);
  if (page && rendered && wanted > width) load(wanted);
}

async function load(next) {
  const before = width;
  const of = page;
  width = next;
  const image = new Image();
  image.src = api.picture(of, next);
  try {
    await image.decode();
  } catch {
    if (page === of) width = before;
    if (page === of && !before) failed();
    return;
  }
  if (page !== of || width !== next) return;
  picture.src = image.src;
  picture.hidden = false;
}

/** Loads pictures that are likely to be wanted next. */
export function prefetch(pages) {
  for (const next of pages) new Image().src = api.picture(next, wanted);
}
