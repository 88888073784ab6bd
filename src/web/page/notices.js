// What the page says beside its content: the live region, the banner on top, short messages.
import { $, el } from "./dom.js";

/** Says it to people who use a screen reader. */
export function announce(text) {
  $("#live").textContent = text;
}

/** Shows a line on top of the page; the answer takes it away. */
export function banner(...children) {
  const line = el("div.banner", { role: "status" }, children);
  $("#banners").append(line);
  return () => line.remove();
}

/** Shows a short message at the bottom for some seconds. */
export function message(text, { hints = [], seconds = 5 } = {}) {
  const note = el(
    "div.message",
    { role: "status" },
    el("p", null, text),
    hints.map((hint) => el("p.hint", null, hint)),
  );
  $("#messages").append(note);
  setTimeout(() => note.remove(), seconds * 1000);
}

/** Tells what went wrong, with what can be done about it. */
export function complain(error) {
  if (error.name === "AbortError" || error.name === "Away") return;
  message(error.message, { hints: error.hints, seconds: 10 });
}

/** Copies the text; without a clipboard (plain http from another machine) it is shown, to be copied by hand. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    message(`Copied: ${text}`);
  } catch {
    message(text, { seconds: 15 });
  }
}
