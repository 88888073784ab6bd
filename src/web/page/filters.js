// The filter on manuals and pages: a popover under its button.
import { $, el, plural, short } from "./dom.js";
import { known, on, wantManuals } from "./server.js";
import { go, onState, state } from "./state.js";

const popover = $("#filters");
const form = $("form", popover);
const button = $("#filter");

function showChoices() {
  const choice = ({ name, pages }) =>
    el(
      "label",
      null,
      el("input", { type: "checkbox", name: "manual", value: name, checked: state.manuals.includes(name) }),
      el("span", null, short(name)),
      el("span.hint", null, plural(pages, "page")),
    );
  $(".choices", form).replaceChildren(...(known.manuals ?? []).map(choice));
  form.elements.pages.value = state.pages;
}

function take() {
  if (!form.checkValidity()) return;
  const asked = new FormData(form);
  go({ manuals: asked.getAll("manual"), pages: asked.get("pages").replaceAll(/\s/g, "") }, { replace: true });
}

function label({ manuals, pages }) {
  const told = manuals.length > 1 ? plural(manuals.length, "manual") : manuals.length ? short(manuals[0]) : "All manuals";
  $("span", button).textContent = pages ? `${told}, pages ${pages}` : told;
  button.classList.toggle("in-force", Boolean(manuals.length || pages));
}

function placePopover() {
  const { right, bottom } = button.getBoundingClientRect();
  popover.style.insetBlockStart = `${bottom + 10}px`;
  popover.style.insetInlineStart = `${Math.max(8, Math.min(right, innerWidth - 8) - popover.offsetWidth)}px`;
}

export function startFilters() {
  popover.addEventListener("toggle", ({ newState }) => {
    if (newState !== "open") return;
    wantManuals();
    showChoices();
    placePopover();
  });
  form.addEventListener("change", take);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    popover.hidePopover();
  });
  form.addEventListener("reset", () =>
    setTimeout(() => {
      go({ manuals: [], pages: "" }, { replace: true });
      showChoices();
    }),
  );
  on("manuals", () => popover.matches(":popover-open") && showChoices());
  onState(label);
  label(state);
}
