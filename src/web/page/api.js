// Requests to `api/v1`. A problem of the server is thrown as `Problem`; no answer at all as `Away`.
import { askForKey } from "./session.js";

const MOST_TRIES = 10;

export class Problem extends Error {
  constructor({ type, title, detail, hints, status }, wait) {
    super(detail || title || `The server answered ${status}.`);
    this.kind = (type ?? "").replace("urn:ingest:", "");
    this.hints = hints ?? [];
    this.status = status;
    this.wait = wait;
  }
}

export class Away extends Error {
  name = "Away";
}

/** Errors that are no fault of the page. */
export const isExpected = (error) => error instanceof Problem || error instanceof Away || error.name === "AbortError";

const lost = new Set();
/** Calls `hear` whenever a request gets no answer. */
export const onAway = (hear) => lost.add(hear);
export function tellAway() {
  lost.forEach((hear) => hear());
  return new Away("The server does not answer.");
}

const outages = new Set();
/** Calls `hear` with the problem whenever the store behind the server does not answer. */
export const onOutage = (hear) => outages.add(hear);

export const url = (path, query = {}) => {
  const asked = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    for (const one of [value].flat()) if (one !== null && one !== undefined && one !== "") asked.append(key, one);
  }
  return `api/v1/${path}${asked.size ? `?${asked}` : ""}`;
};

/** The problem that an answer's body tells; proxies answer without one. */
export function problemOf(status, text, retryAfter) {
  let told = {};
  try {
    told = JSON.parse(text);
  } catch {
    told = { title: `The server answered ${status}.` };
  }
  return new Problem({ ...told, status }, Number(retryAfter) || (status === 503 ? 1 : 0));
}

/** The response to a request. Waits for a key where one is needed, and as long as a busy server asks for. */
async function send(path, { query, tries = 0, ...options } = {}) {
  let answer;
  try {
    answer = await fetch(url(path, query), options);
  } catch (error) {
    throw error.name === "AbortError" ? error : tellAway();
  }
  if (answer.status === 502 || answer.status === 504) throw tellAway();
  if (answer.status === 401) {
    await askForKey();
    return send(path, { query, tries, ...options });
  }
  if (answer.ok) return answer;
  const problem = problemOf(answer.status, await answer.text(), answer.headers.get("Retry-After"));
  const isOut = problem.kind === "store-unavailable";
  if (isOut) outages.forEach((hear) => hear(problem));
  if (isOut || problem.status !== 503 || tries >= MOST_TRIES) throw problem;
  await new Promise((resolve) => setTimeout(resolve, problem.wait * 1000));
  return send(path, { query, tries: tries + 1, ...options });
}

async function request(path, options) {
  const text = await (await send(path, options)).text();
  return text ? JSON.parse(text) : null;
}

const manual = (name) => `manuals/${encodeURIComponent(name)}`;
const json = (body) => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
});

export const about = () => request("about");
export const search = (query, signal) => request("search", { query, signal });
export const manuals = () => request("manuals");
export const manualOf = (name) => request(manual(name));
export const removeManual = (name) => request(manual(name), { method: "DELETE" });
export const chooseFile = (name, file) => request(`${manual(name)}/file`, { method: "PUT", body: file });
export const pageAt = (name, page) => request("pages", { query: { manual: name, page } });
export const heat = (id, q, signal) => request(`pages/${id}/heat`, { query: { q }, signal });
export const addPath = (path) => request("jobs", json({ paths: [path] }));
export const stopJob = (id) => request(`jobs/${id}`, { method: "DELETE" });
export const pdf = (name, page) => `api/v1/${manual(name)}/pdf#page=${page}`;
export const thumbnail = ({ id, version }) => url(`pages/${id}/thumbnail`, { v: version });
export const words = ({ id, version }) => request(`pages/${id}/words`, { query: { v: version } });
export const picture = ({ id, version }, width) => url(`pages/${id}/picture`, { width, v: version });

/** Asks for an answer and calls `hear(name, data)` with each of its events. */
export async function ask(question, signal, hear) {
  const options = json(question);
  options.headers.Accept = "text/event-stream";
  const answer = await send("ask", { ...options, signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const [, name] = event.match(/^event: ?(.*)$/m) ?? [];
      const [, data] = event.match(/^data: ?(.*)$/m) ?? [];
      if (name && data) hear(name, JSON.parse(data));
    }
  }
}

const pages = new Map();
/** A page's record; asked for once, until the library changes. */
export function pageOf(id) {
  if (!pages.has(id)) {
    if (pages.size > 200) pages.delete(pages.keys().next().value);
    const asked = request(`pages/${id}`);
    asked.catch(() => pages.delete(id));
    pages.set(id, asked);
  }
  return pages.get(id);
}
export const forgetPages = () => pages.clear();
