// Which place is shown: start, results with a page beside them, one page alone, or the library.
import * as api from "./api.js";
import { $, el } from "./dom.js";
import { showLibrary, emptyLibrary } from "./library.js";
import { complain } from "./notices.js";
import { chosenHit, countLine, focusChosen, hits, mark, move, place, suggestions } from "./results.js";
import { known } from "./server.js";
import { go, state } from "./state.js";
import { refreshPage, shownId, shownPage, showPage } from "./viewer.js";
import { startPage } from "./zoom.js";

const narrow = matchMedia("screen and (max-width: 759px)");

/** The page to show: the one that was opened, or beside a list the chosen hit. */
const wantedPage = () => (state.view !== "results" ? null : (state.page ?? (narrow.matches ? null : (chosenHit()?.id ?? null))));
const hitOf = (id) => hits.find((hit) => hit.id === id);

export function render() {
  const { view, q, at } = state;
  if (at) return resolve(at);
  const id = wantedPage();
  const alone = Boolean(id) && (narrow.matches || state.reading);
  document.body.dataset.view = view;
  document.body.classList.toggle("unlisted", view === "results" && !q.trim());
  $("#start").hidden = view !== "start";
  $("#results").hidden = view !== "results" || !q.trim();
  $("#library").hidden = view !== "library";
  showPage(id, hitOf(id));
  cover(alone);
  mark(id);
  $("#place").textContent = hits.length && hitOf(id) ? place() : "";
  title(view, q.trim());
  if (view === "library") $("#to-library").setAttribute("aria-current", "page");
  else $("#to-library").removeAttribute("aria-current");
  showLibrary();
}

/** A page alone covers the rest, also for keys and screen readers. */
function cover(alone) {
  const was = document.body.classList.contains("alone");
  document.body.classList.toggle("alone", alone);
  for (const covered of [$(".top"), $("#results"), $("#title")]) covered.inert = alone;
  if (alone !== was) startPage({ keep: false });
  if (alone && !was) $("#stage").focus({ preventScroll: true });
}

function title(view, q) {
  const told = { start: "Find the page", library: "Library", results: q ? `Pages for “${q}”` : "Page" }[view];
  $("#title").textContent = told;
  document.title = view === "start" ? "ingest" : `${view === "results" && q ? q : told} – ingest`;
}

let drawn = "";
/** What stands under the box on the first screen; drawn again only if it is another. */
export function renderStart({ pages, manuals, suggestions: questions, can_upload: upload }) {
  const wanted = JSON.stringify([pages, manuals, questions, upload]);
  if (wanted === drawn) return;
  drawn = wanted;
  const children = pages ? [el("p.hint", null, countLine(known.about)), suggestions()] : emptyLibrary();
  $("#start").replaceChildren(...children.filter(Boolean));
}

async function resolve({ manual, page }) {
  try {
    const { id } = await api.pageAt(manual, page);
    go({ page: id }, { replace: true });
  } catch (error) {
    if (!(error instanceof api.Problem)) return;
    go({ page: null }, { replace: true });
    complain(error);
  }
}

/** The page alone, in the whole window. */
export function openLarge() {
  const id = shownId();
  if (id && !document.body.classList.contains("alone")) go({ page: id, reading: true });
}

/** Back from the page to its list, and from the library to the question. */
export function closePage() {
  const id = state.page;
  const wasAlone = document.body.classList.contains("alone");
  if (!wasAlone && state.view !== "library") return;
  const settle = () => {
    if (wasAlone && !narrow.matches && state.view === "results") go({ page: id }, { replace: true });
    if (wasAlone) focusChosen();
  };
  if (history.state?.inner) {
    addEventListener("popstate", settle, { once: true });
    history.back();
  } else {
    go({ page: narrow.matches ? null : id, view: "" }, { replace: true });
    settle();
  }
}

export function turnPage(step) {
  const page = shownPage();
  const id = step > 0 ? page?.next : page?.previous;
  if (id) go({ page: id, reading: state.reading }, { replace: true });
}

/** A swipe: the next hit, or the next page where there is no list. */
export const swipe = (step) => (hits.length ? move(step) : turnPage(step));

export function startPlaces() {
  narrow.addEventListener("change", render);
  $("#back").addEventListener("click", closePage);
  $("#full").addEventListener("click", openLarge);
  $("#hit-before").addEventListener("click", () => move(-1));
  $("#hit-after").addEventListener("click", () => move(1));
}

/** Shows the page again: the model is another, or the server is back. */
export function renew() {
  if (state.at) render();
  else refreshPage(hitOf(shownId()));
}
