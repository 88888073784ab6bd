// The library: what is stored, how fast it was, what failed, and a way to take a manual out again.
import * as api from "./api.js";
import { $, bytes, el, keyed, number, plural, short } from "./dom.js";
import { addCard, addingSection, failureList, fileAgain } from "./adding.js";
import { announce, complain, copy } from "./notices.js";
import { known, on, wantManuals } from "./server.js";
import { link, state } from "./state.js";

const UNDO = 10;
const STAGES = ["render", "prepare", "embed", "store"];
const FILE = { moved: "the PDF is not where it was", changed: "the PDF was changed since" };

const section = $("#library");
const rows = el("ul.manuals", { "aria-label": "Manuals" });
const total = el("p.hint");

/** Manuals that wait to be removed, with the timer that will do it; a reload forgets them. */
const leaving = new Map();

function manualRow({ name }) {
  const node = el("li");
  const cover = el("a.cover", {
    href: link({ q: "", at: { manual: name, page: 1 } }),
    "data-go": true,
    tabindex: -1,
    "aria-hidden": "true",
  });
  const facts = el("p.facts");
  const again = el("div.again", { hidden: true }, fileAgain(name));
  const speed = el("div.speed");
  const more = details(name);
  const remove = el(
    "button.quiet",
    { type: "button", "aria-label": `Remove ${name}`, onclick: () => takeOut(name, node) },
    "Remove",
  );
  const body = el(
    "div.manual",
    null,
    cover,
    el(
      "div.about",
      null,
      el("h2", { title: name }, el("a", { href: cover.getAttribute("href"), "data-go": true }, short(name))),
      facts,
      again,
      more.node,
    ),
    speed,
    remove,
  );
  const undo = el(
    "div.undo",
    { hidden: true },
    el("p", null, el("b", null, short(name)), ` will be removed in ${UNDO} seconds.`),
    el("button", { type: "button", onclick: () => bringBack(name, node) }, "Undo"),
    el("span.timer", { "aria-hidden": "true" }),
  );
  node.append(body, undo);
  const update = (manual) => {
    facts.replaceChildren(...factsOf(manual));
    again.hidden = !FILE[manual.file];
    speed.replaceChildren(...(manual.last_run ? speedOf(manual) : []));
    more.update(manual);
    showCover(cover, manual.cover);
  };
  return { node, update };
}

function factsOf({ pages, stored, blank, failed, described, bytes: size, file }) {
  const facts = [stored === pages ? plural(pages, "page") : `${number(stored)} of ${plural(pages, "page")}`, bytes(size)];
  if (blank) facts.push(`${number(blank)} blank`);
  if (described) facts.push(described === pages ? "described" : `${number(described)} of ${number(pages)} described`);
  const made = facts.map((fact) => el("span", null, fact));
  if (failed) made.push(el("span.bad", null, `${number(failed)} failed`));
  if (FILE[file]) made.push(el("span.bad", null, FILE[file]));
  return made;
}

/** Pages a second of the last run, with the share of the time that each stage took. */
function speedOf({ pages, last_run: { seconds, pages_per_second: rate, stages } }) {
  const sum = STAGES.reduce((all, stage) => all + (stages[stage] ?? 0), 0) || 1;
  const told = STAGES.map((stage) => `${stage} ${stages[stage] ? `${rateOf(pages / stages[stage])} pages/s` : "no time"}`).join(
    ", ",
  );
  const bar = el(
    "span.shares",
    { role: "img", "aria-label": `By stage: ${told}`, title: told },
    STAGES.map((stage) => el(`span.${stage}`)),
  );
  STAGES.forEach((stage, at) => (bar.children[at].style.inlineSize = `${(100 * (stages[stage] ?? 0)) / sum}%`));
  return [el("span", null, el("b", null, rateOf(rate)), " pages/s"), bar, el("span.hint", null, `${rateOf(seconds)} s`)];
}

const rateOf = (value) => value.toLocaleString("en", { maximumSignificantDigits: value < 100 ? 2 : 3 });

/** Contents and failures, read when they are opened. */
function details(name) {
  const inside = el("div");
  const node = el("details", null, el("summary", null, "Contents"), inside);
  let manual = null;
  const read = async () => {
    if (!node.open) return;
    try {
      inside.replaceChildren(...detailsOf(await api.manualOf(name)));
    } catch (error) {
      complain(error);
    }
  };
  node.addEventListener("toggle", read);
  const update = (next) => {
    const changed = JSON.stringify(next) !== JSON.stringify(manual);
    manual = next;
    node.firstChild.textContent = next.failed ? "Contents and failures" : "Contents";
    if (changed) read();
  };
  return { node, update };
}

function detailsOf({ name, outline, failures, pages, last_run: run }) {
  const entry = ({ title, page }) =>
    el(
      "li",
      null,
      el(
        "a",
        { href: link({ q: "", at: { manual: name, page } }), "data-go": true },
        el("span", null, title),
        el("span.page", null, page),
      ),
    );
  const list = failures.length ? failureList(`${plural(failures.length, "page")} failed`, failures) : null;
  if (list) list.open = true;
  const made = [
    list,
    run &&
      el(
        "dl.stages-of",
        null,
        STAGES.map((stage) =>
          el(
            "div",
            null,
            el("dt", null, el(`i.${stage}`), stage),
            el("dd", null, run.stages[stage] ? `${rateOf(pages / run.stages[stage])} pages/s` : "–"),
          ),
        ),
      ),
    outline.length ? el("ol.outline", null, outline.map(entry)) : el("p.hint", null, "This manual has no table of contents."),
  ];
  return made.filter(Boolean);
}

/** The thumbnail of the first stored page; drawn again only if it is another. */
function showCover(link, cover) {
  const src = cover ? api.thumbnail(cover) : "";
  if (src === (link.dataset.src ?? "")) return;
  link.dataset.src = src;
  link.replaceChildren(...(src ? [el("img", { src, alt: "", width: 56, height: 79, loading: "lazy" })] : []));
}

/** Removes the manual in ten seconds, unless "Undo" is pressed or the page is left. */
function takeOut(name, node) {
  const timer = setTimeout(async () => {
    try {
      await api.removeManual(name);
      known.manuals = known.manuals.filter((manual) => manual.name !== name);
      announce(`${name} is removed`);
    } catch (error) {
      complain(error);
    }
    if (node.contains(document.activeElement)) $("#main").focus();
    showLeaving(node, false);
    leaving.delete(name);
    show();
  }, UNDO * 1000);
  leaving.set(name, timer);
  showLeaving(node, true);
  $(".undo button", node).focus();
  announce(`${name} will be removed in ${UNDO} seconds. Undo?`);
}

function bringBack(name, node) {
  clearTimeout(leaving.get(name));
  leaving.delete(name);
  showLeaving(node, false);
  $(".manual > button", node).focus();
}

function showLeaving(node, going) {
  $(".manual", node).hidden = going;
  $(".undo", node).hidden = !going;
}

function show() {
  if (!known.manuals) return;
  keyed(rows, known.manuals, (manual) => manual.name, manualRow);
  const pages = known.manuals.reduce((all, manual) => all + manual.stored, 0);
  total.textContent = known.manuals.length
    ? `${plural(pages, "page")} of ${plural(known.manuals.length, "manual")} in ${known.about?.library ?? "the library"}`
    : "Nothing is stored yet.";
}

/** The start of an empty library: a place to drop manuals, and the command that does the same. */
export function emptyLibrary() {
  const command = "ingest manuals/*.pdf";
  return [
    el("p.lead", null, "The library is empty."),
    addCard(),
    el(
      "p.command",
      null,
      "On the command line: ",
      el("code", null, command),
      el("button.quiet", { type: "button", onclick: () => copy(command) }, "Copy"),
    ),
  ];
}

let built = false;
/** Builds the view when it is first opened. */
export function showLibrary() {
  if (state.view !== "library") return;
  if (!built && known.about) {
    section.append(total, addingSection(), rows);
    built = true;
  }
  wantManuals();
  show();
}

export function startLibrary() {
  on("manuals", show);
  on("about", showLibrary);
}
