// One page: its picture with the heat over it, and beside it what is known about it.
import * as api from "./api.js";
import { fileAgain } from "./adding.js";
import { $, el, find, marked, pageName, short } from "./dom.js";
import { showHeat, shownWords, switchHeat } from "./heat.js";
import { readMarks, showMarks } from "./marks.js";
import { copy } from "./notices.js";
import { prefetch, showPicture } from "./picture.js";
import { neighbours } from "./results.js";
import { fileOf } from "./server.js";
import { link, state } from "./state.js";
import { setRatio, startPage } from "./zoom.js";

const viewer = $("#viewer");
const GONE = {
  moved: "The PDF is not where it was, so this is the small picture that is stored.",
  changed: "The PDF was changed since it was stored, so this is the small picture of then.",
};

let shown = null;
let page = null;
/** The page whose picture is there, and what was known of its file then. */
let pictured = {};
let textOpen = false;

export const shownId = () => shown?.id;
export const shownPage = () => page;

/** Shows a page; what its hit tells is there at once, the rest comes with the page's record. */
export async function showPage(id, hit) {
  if (!id) return hide();
  const q = state.q.trim();
  if (shown?.id === id && shown.q === q) return;
  const same = shown?.id === id;
  const keep = page && page.id !== id && [page.previous, page.next].includes(id);
  shown = { id, q };
  const now = shown;
  viewer.hidden = false;
  viewer.classList.remove("gone");
  if (!same) {
    page = null;
    startPage({ keep });
    readMarks(null);
    if (hit) head(hit);
    if (hit && fileOf(hit.manual)) show(hit, fileOf(hit.manual));
  }
  showHeat(id, q, () => now === shown && showWords());
  try {
    const record = await api.pageOf(id);
    if (now === shown) fill(record, hit);
  } catch (error) {
    if (now === shown && error instanceof api.Problem) gone(error);
  }
}

/** Shows the page anew, as after a change of the library. */
export function refreshPage(hit) {
  const id = shown?.id;
  shown = null;
  showPage(id, hit);
}

function hide() {
  shown = page = null;
  viewer.hidden = true;
}

function head(of) {
  $("#where").replaceChildren(el("a", { href: link({ view: "library" }), "data-go": true, title: of.manual }, short(of.manual)));
  $("#section").textContent = of.section || of.description?.title || of.title || "";
  $("#section").hidden = !$("#section").textContent;
  $("#page-name").textContent = pageName(of).replace(/^page \d+/, `Page ${of.page}${of.of ? ` of ${of.of}` : ""}`);
  $("#original").href = api.pdf(of.manual, of.page);
  $("#citation").textContent = citation(of) + (state.q.trim() ? ` — question: “${state.q.trim()}”` : "");
}

const citation = (of) => `${of.manual}, ${pageName(of)}`;

function show(of, file) {
  const renders = file === "there";
  pictured = { id: of.id, file };
  const alt = [citation(of), of.section].filter(Boolean).join(", ");
  $("#original").hidden = !renders;
  showPicture(of, {
    renders,
    alt,
    onFail: () => note("The page could not be rendered: this is the small picture that is stored."),
  });
}

function fill(record, hit) {
  page = record;
  head({ ...record, section: hit?.section || record.section });
  if (pictured.id !== record.id || pictured.file !== record.file) show(record, record.file);
  $("#page-notes").replaceChildren();
  if (GONE[record.file]) note(GONE[record.file], fileAgain(record.manual, () => refreshPage(hit)));
  if (record.blank) note("This page is blank.");
  turn("#page-before", record.previous);
  turn("#page-after", record.next);
  describe(record.description);
  showWords();
  if (record.file !== "there") return;
  if (shown.q) readMarks(record, showWords);
  loadAround(record);
}

/** There is nothing to show but the reason. */
function gone(problem) {
  viewer.classList.add("gone");
  $("#page-notes").replaceChildren(
    el("p.note", null, problem.status === 404 ? "This page is not in the library any more." : problem.message),
  );
}

const note = (...said) => $("#page-notes").append(el("p.note", null, said));

function turn(selector, id) {
  const arrow = $(selector);
  if (id) arrow.href = link({ page: id });
  else arrow.removeAttribute("href");
  arrow.setAttribute("aria-disabled", String(!id));
}

/** Fetches the hits beside this one and the pages beside this one, when there is time. */
async function loadAround({ previous, next }) {
  const now = shown;
  await new Promise((resolve) => setTimeout(resolve, 250));
  if (now !== shown) return;
  const pages = await Promise.allSettled([next, previous].filter(Boolean).map(api.pageOf));
  const there = (of) => fileOf(of.manual) === "there";
  if (now === shown) prefetch([...neighbours().filter(there), ...pages.filter((one) => one.value).map((one) => one.value)]);
}

function describe(description) {
  const section = $("#description");
  section.hidden = !description;
  if (!description) return;
  const code = ({ text, confirmed }) =>
    el(
      confirmed ? "li" : "li.unsure",
      confirmed ? null : { title: "Not found in the text of the page" },
      text,
      confirmed ? null : " (unconfirmed)",
    );
  section.replaceChildren(
    el("h2.small", null, "Description"),
    el("p", null, description.summary),
    description.topics.length ? el("p.topics", null, description.topics.join(" · ")) : "",
    description.identifiers.length ? el("ul.codes", null, description.identifiers.map(code)) : "",
  );
}

/** Marks the words of the question that are switched on: in the text, and on the picture. */
function showWords() {
  showText();
  showMarks(shownWords());
}

function showText() {
  const section = $("#text");
  section.hidden = !textOpen;
  viewer.classList.toggle("with-text", textOpen);
  $("#show-text").setAttribute("aria-pressed", String(textOpen));
  if (!textOpen || !page) return;
  const { text, words_read: read } = page;
  const words = shownWords();
  section.replaceChildren(
    el("h2.small", null, text || !read ? "Text" : "Words read from the image"),
    text || read
      ? el("p.printed", { lang: "" }, marked(text || read, find(text || read, words)))
      : el("p.hint", null, "This page has no text."),
  );
}

export function switchText() {
  textOpen = !textOpen;
  showText();
}

export function cite() {
  if (page) copy(citation(page));
}

export const openOriginal = () => {
  if (page && !$("#original").hidden) $("#original").click();
};

export function startViewer() {
  for (const image of [$("#small"), $("#picture")])
    image.addEventListener("load", () => setRatio(image.naturalHeight / image.naturalWidth));
  $("#heat-switch").addEventListener("click", switchHeat);
  $("#show-text").addEventListener("click", switchText);
  $("#copy").addEventListener("click", cite);
}
