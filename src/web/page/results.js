// The list of hits, and what stands there when there are none.
import * as api from "./api.js";
import { $, el, icon, marked, number, pageName, plural, short } from "./dom.js";
import { announce } from "./notices.js";
import { known } from "./server.js";
import { go, link, state } from "./state.js";

const section = $("#results");
const rows = $("#hits");
const notes = $("#notes");

/** The last answer; `hits` is empty without a question. */
export let hits = [];
let chosen = 0;
let question;
let heard = () => {};
let answered = () => {};

export const onHits = (hear) => (heard = hear);
/** Calls `hear` with each answer of a search, or null. */
export const onAnswer = (hear) => (answered = hear);
export const chosenHit = () => hits[chosen];
export const place = () => `${chosen + 1} of ${hits.length}`;
export const neighbours = () => [hits[chosen + 1], hits[chosen - 1]].filter(Boolean);

/** Another question starts at its first hit, on the page (narrow) or in the list (wide). */
function toTop() {
  if (!state.page) scrollTo(0, 0);
  section.scrollTop = 0;
}

export function showSearching() {
  section.setAttribute("aria-busy", "true");
}

export function showAnswer(answer, { more = false } = {}) {
  section.removeAttribute("aria-busy");
  hits = answer?.hits ?? [];
  chosen = Math.max(
    0,
    hits.findIndex((hit) => hit.id === state.page),
  );
  rows.replaceChildren(...hits.map(row));
  $("#more").hidden = !more;
  notes.replaceChildren(...(answer ? said(answer) : []));
  if (answer) announce(hits.length ? `${plural(hits.length, "page")} found` : "No page found");
  if (answer && answer.query !== question) toTop();
  question = answer?.query;
  heard();
  answered(answer);
}

export function showProblem(problem) {
  showAnswer(null);
  const hints = problem.hints.map((hint) => el("p.hint", null, hint));
  notes.replaceChildren(el("div.note", { role: "alert" }, el("p", null, problem.message), hints));
}

function row(hit, index) {
  const about = {
    class: "thumb",
    src: api.thumbnail(hit),
    alt: "",
    width: 96,
    height: 136,
    loading: index < 6 ? "eager" : "lazy",
    decoding: "async",
  };
  const score = el("span.score", { title: `score ${hit.score.toFixed(2)}` }, el("span"));
  score.firstChild.style.inlineSize = `${Math.round(Math.min(1, Math.max(0, hit.score)) * 100)}%`;
  return el(
    "li",
    null,
    el(
      "a",
      { href: link({ page: hit.id }), "data-go": true },
      el("img", about),
      el(
        "span.hit",
        null,
        el("span.where", null, short(hit.manual)),
        (hit.section || hit.title) && el("span.section", null, hit.section || hit.title),
        snippet(hit),
        el("span.foot", null, el("span", null, pageName(hit)), score),
      ),
    ),
  );
}

function snippet({ snippet, marks, words_read: read }) {
  if (snippet) return el("span.snippet", null, marked(snippet, marks ?? []));
  if (!read?.length) return null;
  return el(
    "span.snippet",
    null,
    "Read from the image: ",
    read.map((word, at) => [at > 0 && ", ", el("mark", null, word)]).flat(),
  );
}

/** What is to be said above the list. */
function said({ query, degraded, did_you_mean: meant, hits }) {
  const all = [];
  if (degraded)
    all.push(
      el(
        "div.note",
        null,
        el("p", null, lacking(degraded)),
        known.about?.model.hints.map((hint) => el("p.hint", null, hint)),
      ),
    );
  const other = meant.length ? el("p.meant", null, "Did you mean ", meant.map(orQuestion), "?") : null;
  if (!hits.length) return [...all, nothing(query, other)];
  if (other) all.push(other);
  all.push(el("p.count", null, `${plural(hits.length, "page")}`, filters().length ? [" · ", filters()] : null));
  return all;
}

function lacking(degraded) {
  const model = known.about?.model;
  if (degraded === "model-loading") return "Found by words so far. Pictures join as soon as the model is loaded.";
  if (degraded === "model-unavailable") return `Found by words only. ${model?.reason ?? "The model is not there."}`;
  return "Found by words only: the model cannot read this question.";
}

const orQuestion = (question, at) => [at > 0 && " or ", el("a", { href: link({ q: question }), "data-go": true }, question)];

function nothing(query, other) {
  const inForce = filters();
  return el(
    "div.nothing",
    null,
    el("p.lead", null, `No page found for “${query}”`),
    other,
    inForce.length ? el("p", null, "Only looked at ", inForce) : null,
    state.mode !== "visual" &&
      el("button.quiet", { type: "button", onclick: () => go({ mode: "visual" }) }, "Look at the pictures only"),
    known.about?.suggestions.length ? el("p.hint", null, "Something this library can answer:") : null,
    suggestions(),
  );
}

export function suggestions() {
  const links = (known.about?.suggestions ?? []).map((question) =>
    el("li", null, el("a", { href: link({ q: question, mode: "hybrid", manuals: [], pages: "" }), "data-go": true }, question)),
  );
  return links.length ? el("ul.suggestions", null, links) : null;
}

/** The filters in force, each with a cross. */
function filters() {
  const cross = (text, change) =>
    el("button.chip", { type: "button", title: "Take this filter away", onclick: () => go(change) }, text, icon("cross"));
  const all = state.manuals.map((name) => cross(short(name), { manuals: state.manuals.filter((other) => other !== name) }));
  if (state.pages) all.push(cross(`pages ${state.pages}`, { pages: "" }));
  if (state.mode !== "hybrid")
    all.push(cross({ visual: "pictures", text: "words", meaning: "meaning" }[state.mode] ?? state.mode, { mode: "hybrid" }));
  return all;
}

/** Marks the hit whose page is open; a page that is no hit leaves the mark where it was. */
export function mark(shown) {
  const index = hits.findIndex((hit) => hit.id === shown);
  if (index >= 0) chosen = index;
  rows.querySelectorAll("a").forEach((link, at) => {
    if (at === chosen && shown) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  });
}

/** Lights up the hit of a page; null: none. */
export function lit(id) {
  rows.querySelectorAll("a").forEach((link, at) => link.classList.toggle("lit", hits[at]?.id === id));
}

/** Opens the next hit (or the one before); the focus goes along if it is in the list. */
export function move(step) {
  const hit = hits[chosen + step];
  if (!hit) return;
  const inList = rows.contains(document.activeElement);
  go({ page: hit.id, reading: state.reading }, { replace: true });
  const target = rows.querySelectorAll("a")[chosen];
  if (inList) target.focus({ preventScroll: true });
  target.scrollIntoView({ block: "nearest" });
}

export function focusChosen() {
  rows.querySelectorAll("a")[chosen]?.focus();
}

export const countLine = ({ pages, manuals }) => `${number(pages)} pages of ${plural(manuals, "manual")}`;
