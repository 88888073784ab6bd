// The box: asks while somebody types, and keeps what was asked in the URL.
import * as api from "./api.js";
import { $, pause } from "./dom.js";
import { complain } from "./notices.js";
import { showAnswer, showProblem, showSearching } from "./results.js";
import { known, on } from "./server.js";
import { go, onState, state } from "./state.js";

const box = $("#q");
const PAUSE = 120;
const NEW_QUESTION = 3000;
const FIRST = 10;

let asked = "";
let count = FIRST;
let running = null;
let lastTyped = 0;

const request = () => ({ q: state.q.trim(), mode: state.mode, manual: state.manuals, pages: state.pages, count });

/** A question typed after a while is a new entry of the history; its letters are not. */
function take() {
  const q = box.value;
  if (q.trim() === state.q.trim()) return;
  const now = Date.now();
  go({ q, page: null }, { replace: Boolean(state.q) && now - lastTyped < NEW_QUESTION });
  lastTyped = now;
}

const takeSoon = pause(take, PAUSE);

function typed(event) {
  if (event.isComposing) return;
  if (known.about?.questions_as_typed !== false || !box.value.trim()) takeSoon();
}

/** Asks if anything of the question is new; `again` asks in any case. */
async function ask({ again = false } = {}) {
  const wanted = request();
  const key = JSON.stringify(wanted);
  if (!wanted.q) {
    running?.abort();
    asked = "";
    return showAnswer(null);
  }
  if (key === asked && !again) return;
  asked = key;
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const slow = setTimeout(showSearching, 150);
  try {
    const answer = await api.search(wanted, signal);
    if (!signal.aborted) showAnswer(answer, { more: answer.hits.length >= count && count < 100 });
  } catch (error) {
    if (error.name === "AbortError") return;
    asked = "";
    if (error instanceof api.Problem) showProblem(error);
    else complain(error);
  } finally {
    clearTimeout(slow);
  }
}

function follow(now, before) {
  // What was typed since the last question is kept.
  if (now.q !== before.q && now.q.trim() !== box.value.trim()) box.value = now.q;
  if (now.q !== before.q) count = FIRST;
  $("#mode").value = now.mode;
  ask();
}

/** Enter in the box: the question at once, if it is not there yet. True if there was something to ask. */
export function askNow() {
  const fresh = box.value.trim() !== state.q.trim();
  take();
  return fresh;
}

export function startSearch() {
  box.value = state.q;
  $("#mode").value = state.mode;
  box.addEventListener("input", typed);
  box.addEventListener("compositionend", typed);
  $("#search").addEventListener("submit", (event) => event.preventDefault());
  $("#mode").addEventListener("change", (event) => go({ mode: event.target.value }, { replace: true }));
  $("#more").addEventListener("click", () => {
    count = Math.min(100, count * 3);
    ask();
  });
  onState(follow);
  if (state.view === "start") box.focus();
  on("back", () => ask({ again: true }));
  on("model", () => ask({ again: true }));
  ask();
}
