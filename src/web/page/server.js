// What the page knows about the server: its facts, its jobs, and whether it answers.
import * as api from "./api.js";
import { el, pause } from "./dom.js";
import { banner, complain } from "./notices.js";

const STORE_PAUSE = 2000;

export const known = { about: null, manuals: null, jobs: new Map() };

const listeners = {};
/** Kinds: `about`, `manuals`, `job` (one job), `jobs` (all of them), `model`, `back`. */
export const on = (kind, hear) => (listeners[kind] ??= []).push(hear);
const tell = (kind, value) => listeners[kind]?.forEach((hear) => hear(value));

/** there, moved or changed; null as long as the manuals are not known. */
export const fileOf = (manual) => known.manuals?.find((one) => one.name === manual)?.file ?? null;

let tellFirst;
/** Comes true with the first facts. */
export const answered = new Promise((resolve) => (tellFirst = resolve));

let wanted = false;
/** Reads the manuals again, now if anybody has asked for them before. */
const refresh = pause(async () => {
  if (!wanted) return;
  try {
    known.manuals = (await api.manuals()).manuals;
    tell("manuals");
  } catch (error) {
    complain(error);
  }
}, 150);

export function wantManuals() {
  wanted = true;
  refresh();
}

export function keepJob(job) {
  known.jobs.set(job.id, job);
  tell("job", job);
}

function setAbout(about) {
  const model = known.about?.model.state;
  known.about = about;
  tellFirst();
  tell("about", about);
  if (model && model !== about.model.state) tell("model", about.model);
}

let source = null;
function listen() {
  source?.close();
  source = new EventSource("api/v1/events");
  const hear = (kind, take) => source.addEventListener(kind, (event) => take(JSON.parse(event.data)));
  hear("snapshot", ({ about, jobs }) => {
    setAbout(about);
    known.jobs = new Map(jobs.map((job) => [job.id, job]));
    tell("jobs");
    refresh();
  });
  hear("job", keepJob);
  hear("library", ({ pages, manuals }) => {
    api.forgetPages();
    setAbout({ ...known.about, pages, manuals });
    refresh();
  });
  hear("model", (model) => setAbout({ ...known.about, model: { ...known.about.model, ...model } }));
  source.onerror = () => setTimeout(probe, 500);
}

let away = false;
async function probe() {
  if (away) return;
  try {
    await api.about();
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 1000);
  } catch {
    // `onAway` has heard of it.
  }
}

/** Shows the banner and asks again after 1, 2, 4, … 30 seconds until the server is back. */
function wait() {
  if (away) return;
  away = true;
  source?.close();
  let seconds = 1;
  let left = seconds;
  let timer = 0;
  const words = el("span", { "aria-live": "off" });
  const now = el("button.quiet", { type: "button", onclick: () => attempt() }, "Try now");
  const hide = banner(el("strong", null, "The server does not answer."), " ", words, now);
  const tick = () => {
    words.textContent = `Nothing you typed or dropped is lost. Trying again in ${left} s.`;
    timer = left-- > 0 ? setTimeout(tick, 1000) : setTimeout(attempt, 0);
  };
  async function attempt() {
    clearTimeout(timer);
    words.textContent = "Trying…";
    try {
      await api.about();
    } catch {
      seconds = Math.min(30, seconds * 2);
      left = seconds;
      return tick();
    }
    away = false;
    hide();
    listen();
    tell("back");
  }
  tick();
}

let out = false;
/** Shows a banner and asks again every other second until the store behind the server answers. */
async function waitForStore(problem) {
  if (out) return;
  out = true;
  const hide = banner(el("strong", null, "The library does not answer."), " ", problem.message);
  while (out) {
    await new Promise((resolve) => setTimeout(resolve, STORE_PAUSE));
    out = await api.about().then(
      () => false,
      () => true,
    );
  }
  hide();
  tell("back");
}

/** A page that nobody sees gives its connection back: a browser has six of them for all tabs together. */
function rest() {
  if (document.visibilityState === "hidden") source?.close();
  else if (!away && source?.readyState === EventSource.CLOSED) listen();
}

export async function startServer() {
  api.onAway(wait);
  api.onOutage(waitForStore);
  addEventListener("pagehide", () => source?.close());
  addEventListener("pageshow", rest);
  document.addEventListener("visibilitychange", rest);
  listen();
  setAbout(await api.about());
}
