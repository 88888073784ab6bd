// The answer: a model reads the best pages and cites them. It takes a while, so it is asked for with a button.
import * as api from "./api.js";
import { $, el, list, pageName, short } from "./dom.js";
import { announce, complain } from "./notices.js";
import { hits, lit, onAnswer } from "./results.js";
import { link, state } from "./state.js";

const button = $("#ask");
const panel = $("#answer");
const words = $("#answer-text");
const foot = $("#answer-foot");
const stop = $("#answer-stop");

let running = null;
let pages = [];
let question;

const pageOf = (n) => pages.find((page) => page.n === n);

/** The number of a page in the text: a link that lights its hit up. */
function citation(n) {
  const page = pageOf(n);
  if (!page) return `[${n}]`;
  const light = (on) => () => lit(on ? page.id : null);
  return el(
    "a.cited",
    {
      href: link({ page: page.id }),
      "data-go": true,
      title: `${short(page.manual)}, ${pageName(page)}`,
      onmouseenter: light(true),
      onmouseleave: light(false),
      onfocus: light(true),
      onblur: light(false),
    },
    `[${n}]`,
  );
}

const sources = (all) =>
  el(
    "ul",
    null,
    all.map((page) => el("li", null, citation(page.n), " ", short(page.manual), ", ", pageName(page))),
  );

const CUTS = {
  length: "The answer is cut: it has the most tokens that are set.",
  repetition: "The answer is cut: the model began to repeat itself.",
  deadline: "The answer is cut: it took too long.",
};

/** What is said below the whole answer. */
function done({ found, citations, facts, cut }) {
  const those = (verdict) => facts.filter((fact) => fact.verdict === verdict).map((fact) => fact.text);
  const [doubted, untold] = [those("not-confirmed"), those("cannot-tell")];
  const uncited = !citations.length && words.textContent.trim();
  if (!words.textContent.trim() && !found) words.textContent = "The pages that were read do not say.";
  foot.replaceChildren(
    ...[
      !found && el("p.doubt", null, uncited ? "No page is cited; those that were read:" : "Not on the pages that were read:"),
      sources(found ? citations : pages),
      doubted.length > 0 && el("p.doubt", null, "Not in the text of the cited pages: ", el("b", null, list(doubted)), "."),
      untold.length > 0 && el("p.untold", null, "To be compared with the picture: ", el("b", null, list(untold)), "."),
      cut && el("p.doubt", null, CUTS[cut] ?? "The answer is cut."),
    ].filter(Boolean),
    el("p.hint", null, "Answers may be wrong: look at the page."),
  );
  announce(found ? "Answered" : "No answer on these pages");
}

function failed(problem) {
  foot.replaceChildren(
    el("p.doubt", { role: "alert" }, problem.message),
    ...problem.hints.map((hint) => el("p.hint", null, hint)),
  );
}

/** What each event of the stream does. */
const HEARD = {
  pages: (told) => (pages = told.pages),
  text: (told) => words.append(told.text),
  cite: (told) => words.append(" ", citation(told.n)),
  restart: () => words.replaceChildren(),
  note: (told) => foot.replaceChildren(el("p.hint", null, told.text)),
  done,
  problem: (told) => failed(new api.Problem(told)),
};

function clear() {
  running?.abort();
  running = null;
  pages = [];
  panel.hidden = true;
  words.replaceChildren();
  foot.replaceChildren();
  lit(null);
}

async function ask() {
  clear();
  const asking = new AbortController();
  running = asking;
  panel.hidden = button.disabled = false;
  button.hidden = true;
  stop.hidden = false;
  panel.setAttribute("aria-busy", "true");
  try {
    await api.ask({ question: state.q.trim(), manual: state.manuals }, asking.signal, (name, told) => {
      if (running === asking) HEARD[name]?.(told);
    });
  } catch (error) {
    if (error instanceof api.Problem) failed(error);
    else if (error.name !== "AbortError") complain(error);
  } finally {
    if (running === asking) {
      running = null;
      stop.hidden = true;
      button.hidden = false;
      panel.removeAttribute("aria-busy");
    }
  }
}

/** Another question has no answer yet. */
function follow(answer) {
  const asked = answer ? JSON.stringify([answer.query, state.manuals]) : null;
  if (asked !== question) clear();
  question = asked;
  button.hidden = !hits.length || Boolean(running);
}

function halt() {
  running?.abort();
  foot.replaceChildren(el("p.hint", null, "Stopped."));
}

export const askModel = () => {
  if (!button.hidden) ask();
};

export function startAnswer() {
  button.addEventListener("click", ask);
  stop.addEventListener("click", halt);
  onAnswer(follow);
}
