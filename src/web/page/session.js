// The key prompt: every request that was refused waits here until one key is right.
import { $ } from "./dom.js";

let waiting = null;

export function askForKey() {
  waiting ??= prompt().finally(() => (waiting = null));
  return waiting;
}

function prompt() {
  const dialog = $("#key");
  const form = $("form", dialog);
  const told = $("[role=alert]", dialog);
  told.textContent = "";
  dialog.oncancel = (event) => event.preventDefault();
  dialog.showModal();
  return new Promise((resolve) => {
    form.onsubmit = async (event) => {
      event.preventDefault();
      told.textContent = await refusal(form.key.value);
      if (told.textContent) return form.key.select();
      form.key.value = "";
      dialog.close();
      resolve();
    };
  });
}

/** Why the key was not taken; empty if it was. */
async function refusal(key) {
  try {
    const answer = await fetch("api/v1/session", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ key }),
    });
    if (answer.ok) return "";
    return answer.status === 401 ? "That is not the key." : `The server answered ${answer.status}.`;
  } catch {
    return "The server does not answer.";
  }
}
