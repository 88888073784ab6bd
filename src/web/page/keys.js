// Keys. None of them works while something is typed, but those of the box itself.
import { askModel } from "./answer.js";
import { $, el } from "./dom.js";
import { switchHeat, toggle } from "./heat.js";
import { closePage, openLarge, turnPage } from "./places.js";
import { move } from "./results.js";
import { askNow } from "./search.js";
import { cite, openOriginal, switchText } from "./viewer.js";
import { fit, zoom } from "./zoom.js";

const box = $("#q");

const focusBox = () => {
  box.focus();
  box.select();
};

/** `[keys, what they do, call]`; the call gets the key. */
const KEYS = [
  [["/", "Ctrl K"], "Go to the box", focusBox, ["/"]],
  [["↓", "j"], "Next hit", () => move(1), ["ArrowDown", "j"]],
  [["↑", "k"], "Hit before", () => move(-1), ["ArrowUp", "k"]],
  [["Enter"], "The page alone", openLarge, ["Enter"]],
  [["Esc"], "Back", closePage, ["Escape"]],
  [["a"], "Answer from these pages", askModel, ["a"]],
  [["←", "→"], "Turn the page", (key) => turnPage(key === "ArrowRight" ? 1 : -1), ["ArrowLeft", "ArrowRight"]],
  [["h"], "Heat on or off", switchHeat, ["h"]],
  [["1", "…", "9"], "One word of the heat on or off", (key) => toggle(Number(key) - 1), [..."123456789"]],
  [["+", "−", "0"], "Larger, smaller, whole", (key) => (key === "0" ? fit() : zoom(key === "-" ? -1 : 1)), ["+", "=", "-", "0"]],
  [["t"], "Text of the page", switchText, ["t"]],
  [["o"], "Original PDF at this page", openOriginal, ["o"]],
  [["y"], "Copy manual and page", cite, ["y"]],
  [["?"], "These keys", () => $("#keys").showModal(), ["?"]],
];

const calls = new Map(KEYS.flatMap(([, , call, codes]) => codes.map((code) => [code, call])));

/** In the box: arrows move through the hits, Enter asks or opens, Esc leaves the box. */
function inBox(event) {
  if (event.isComposing) return;
  if (event.key === "ArrowDown") move(1);
  else if (event.key === "ArrowUp") move(-1);
  else if (event.key === "Escape") box.blur();
  else if (event.key === "Enter") askNow() || openLarge();
  else return;
  event.preventDefault();
}

/** Keys that an element needs for itself. */
function isTaken({ target, key }) {
  if (target.matches("input, select, textarea, [contenteditable]")) return true;
  if (key === "Enter") return target.matches("a:not([aria-current]), button, summary");
  const scrolls = target.id === "stage" && target.classList.contains("near");
  return scrolls && key.startsWith("Arrow");
}

function press(event) {
  if ($("dialog[open], :popover-open")) return;
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    return focusBox();
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === box) return inBox(event);
  const call = calls.get(event.key);
  if (!call || isTaken(event)) return;
  event.preventDefault();
  call(event.key);
}

export function startKeys() {
  $("#keys dl").append(
    ...KEYS.map(([keys, does]) =>
      el(
        "div",
        null,
        el(
          "dt",
          null,
          keys.map((key) => (key === "…" ? " … " : el("kbd", null, key))),
        ),
        el("dd", null, does),
      ),
    ),
  );
  $("#help").addEventListener("click", () => $("#keys").showModal());
  document.addEventListener("keydown", press);
}
