// What the page shows, kept in the URL: `?q=…&mode=…&manual=…&pages=…#page-ID`, `?view=library`, `#at=7&in=NAME`.

const listeners = new Set();
const base = new URL(document.baseURI).pathname;

/** `view` is start, results or library; `page` the id of the page that was opened; `at` a page told by its number. */
function read() {
  const asked = new URLSearchParams(location.search);
  const hash = new URLSearchParams(location.hash.slice(1));
  const [first, id] = location.pathname.slice(base.length).split("/");
  const page = location.hash.match(/^#page-([\w-]+)$/)?.[1] ?? (first === "page" ? id : null) ?? null;
  const at = hash.has("in") ? { manual: hash.get("in"), page: Number(hash.get("at")) || 1 } : null;
  const q = asked.get("q") ?? "";
  const library = asked.get("view") === "library";
  return {
    q,
    mode: asked.get("mode") ?? "hybrid",
    manuals: asked.getAll("manual"),
    pages: asked.get("pages") ?? "",
    page,
    at,
    view: library ? "library" : q.trim() || page || at ? "results" : "start",
    reading: Boolean(history.state?.reading) && Boolean(page),
  };
}

export let state = read();

/** The address of a state; what is not told stays as it is, but a page belongs to one place only. */
export function link(change) {
  const wanted = { ...state, view: "", page: null, at: null, ...change };
  const asked = new URLSearchParams();
  if (wanted.view === "library") asked.set("view", "library");
  if (wanted.q) asked.set("q", wanted.q);
  if (wanted.mode !== "hybrid") asked.set("mode", wanted.mode);
  for (const manual of wanted.manuals) asked.append("manual", manual);
  if (wanted.pages) asked.set("pages", wanted.pages);
  const at = wanted.at && new URLSearchParams({ at: wanted.at.page, in: wanted.at.manual });
  const hash = wanted.page ? `#page-${wanted.page}` : at ? `#${at}` : "";
  return `${base}${asked.size ? `?${asked}` : ""}${hash}`;
}

export function go(change, { replace = false } = {}) {
  const inner = replace ? Boolean(history.state?.inner) : true;
  const entry = { inner, reading: Boolean(change.reading) };
  history[replace ? "replaceState" : "pushState"](entry, "", link(change));
  tell();
}

export const onState = (hear) => listeners.add(hear);

function tell() {
  const before = state;
  state = read();
  listeners.forEach((hear) => hear(state, before));
}

/** Follows links of the page itself without loading it again. */
function follow(event) {
  const link = event.target.closest?.("a[data-go]");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  const reading = state.reading && link.hash.startsWith("#page-");
  if (link.href !== location.href) history.pushState({ inner: true, reading }, "", link.href);
  tell();
}

export function startState() {
  addEventListener("popstate", tell);
  document.addEventListener("click", follow);
  history.replaceState(history.state, "", link(state));
}
