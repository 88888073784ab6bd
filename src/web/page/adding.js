// Adding manuals: where to drop or choose them, what is on its way, and how far each job is.
import * as api from "./api.js";
import { $, bytes, duration, el, icon, keyed, list, number, plural } from "./dom.js";
import { announce, complain } from "./notices.js";
import { keepJob, known, on } from "./server.js";
import { addFiles, cancel, onUploads, readable, retry, uploads } from "./uploads.js";

const STAGES = ["render", "prepare", "embed", "store"];
const MOST_ROWS = 8;

const going = (job) => job.state === "queued" || job.state === "running";
/** A server that was started again counts its jobs from the start. */
const keyOf = (job) => `${job.id} ${job.manual}`;
const dismissed = new Set();
const lists = { uploads: el("ul.rows", { "aria-label": "Uploads" }), jobs: el("ul.rows", { "aria-label": "Jobs" }) };
const rest = el("p.hint", { hidden: true });

/** The place to add manuals, with the lists of what is being added. */
export function addingSection() {
  return el("section.adding", { "aria-label": "Add manuals" }, addCard(), lists.uploads, rest, lists.jobs);
}

/** Where to drop and choose files; a new one each time. */
export function addCard() {
  if (known.about?.can_upload === false && !known.about.folders.length)
    return el("p.hint", null, "Manuals are added to this library on the command line.");
  return el(
    "div.add",
    null,
    known.about?.can_upload === false
      ? null
      : [
          icon("drop"),
          el(
            "p",
            null,
            el("b", null, "Drop manuals anywhere on this page"),
            el("span.hint", null, "PDF, PNG, JPEG, WebP, GIF, BMP, TIFF; any number, folders too"),
          ),
          el(
            "div.choose",
            null,
            chooser("Choose files", { accept: ".pdf,image/*" }),
            chooser("Choose a folder", { webkitdirectory: true }),
          ),
        ],
    known.about?.folders.length ? pathForm(known.about.folders) : null,
  );
}

/** A button that opens the file dialog. */
function chooser(text, attributes) {
  const input = el("input", { type: "file", multiple: true, hidden: true, ...attributes });
  input.addEventListener("change", () => {
    addFiles(attributes.webkitdirectory ? readable(input.files) : input.files);
    input.value = "";
  });
  return [input, el("button", { type: "button", onclick: () => input.click() }, text)];
}

/** A button to choose the file of a manual again, which moved or changed. */
export function fileAgain(name, chosen = () => {}) {
  const input = el("input", { type: "file", accept: ".pdf,image/*", hidden: true });
  const button = el("button.quiet", { type: "button", onclick: () => input.click() }, "Choose the file again");
  input.addEventListener("change", async () => {
    const file = input.files[0];
    button.disabled = true;
    try {
      await api.chooseFile(name, file);
      api.forgetPages();
      announce(`${name} has its file again`);
      chosen();
    } catch (error) {
      complain(error);
    }
    input.value = "";
    button.disabled = false;
  });
  return [input, button];
}

function pathForm(folders) {
  const field = el("input", {
    name: "path",
    placeholder: `${folders[0]}/pump.pdf`,
    autocomplete: "off",
    spellcheck: "false",
    required: true,
  });
  const submit = async (event) => {
    event.preventDefault();
    try {
      (await api.addPath(field.value.trim())).jobs.forEach(keepJob);
      field.value = "";
    } catch (error) {
      complain(error);
    }
  };
  return el(
    "form.path",
    { onsubmit: submit },
    el("label.field", null, "Or a path on the server, in ", list(folders), field),
    el("button", null, "Add"),
  );
}

function uploadRow(one) {
  const bar = el("progress", { max: 1, "aria-label": `Upload of ${one.file.name}` });
  const told = el("span.told");
  const again = el("button.quiet", { type: "button", onclick: () => retry(one) }, "Try again");
  const stop = el(
    "button.plain",
    { type: "button", "aria-label": `Cancel ${one.file.name}`, title: "Cancel", onclick: () => cancel(one) },
    icon("cross"),
  );
  const node = el("li", null, el("div.line", null, el("b", null, one.file.name), told, again, stop), bar);
  const update = ({ state, sent, told: problem, hints, final, file }) => {
    const failed = state === "failed";
    node.classList.toggle("failed", failed);
    again.hidden = !failed || final;
    bar.hidden = state !== "sending";
    bar.value = file.size ? sent / file.size : 0;
    told.textContent = failed
      ? [problem, ...hints].join(". ")
      : state === "waiting"
        ? "waiting"
        : `${bytes(sent)} of ${bytes(file.size)}`;
  };
  return { node, update };
}

const ids = new WeakMap();
let lastId = 0;
const idOf = (one) => ids.get(one) ?? (ids.set(one, ++lastId), lastId);

function showUploads() {
  const order = { failed: 0, sending: 1, waiting: 2 };
  const rows = [...uploads].sort((a, b) => order[a.state] - order[b.state]);
  keyed(lists.uploads, rows.slice(0, MOST_ROWS), idOf, uploadRow);
  rest.hidden = rows.length <= MOST_ROWS;
  rest.textContent = `and ${plural(rows.length - MOST_ROWS, "more file")}`;
}

function jobRow(job) {
  const told = el("span.told");
  const meters = STAGES.map((stage) => el("label", null, stage, el("progress", { max: 1, value: 0 })));
  const close = el("button.plain", { type: "button", onclick: () => end(job) }, icon("cross"));
  const problem = el("div.problem");
  const stages = el("div.stages", null, meters);
  const node = el("li", null, el("div.line", null, el("b", null, job.manual), told, close), stages, problem);
  const update = (now) => {
    const { pages, state, done, failed, failures, message, hints, seconds_left: left } = now;
    const name = going(now) ? "Stop" : "Hide";
    close.title = name;
    close.setAttribute("aria-label", `${name} ${job.manual}`);
    node.classList.toggle("failed", state === "failed");
    stages.hidden = state !== "running";
    meters.forEach((meter, at) => meterTo(meter, now.stages[STAGES[at]], pages));
    told.textContent = {
      queued: "waiting for its turn",
      running: pages ? `${number(done)} of ${plural(pages, "page")}${left ? `, about ${duration(left)} left` : ""}` : "opening",
      done: `${plural(done, "page")} stored`,
      failed: "not stored",
      stopped: `stopped after ${plural(done, "page")}`,
    }[state];
    problem.replaceChildren(...[message, ...hints].filter(Boolean).map((line) => el("p", null, line)));
    if (failed) problem.append(failureList(`${plural(failed, "page")} failed`, failures));
  };
  return { node, update };
}

function meterTo(meter, count, pages) {
  const bar = meter.lastChild;
  if (pages) bar.value = (count ?? 0) / pages;
  else bar.removeAttribute("value");
}

export function failureList(title, failures) {
  return el(
    "details",
    null,
    el("summary", null, title),
    el(
      "ul",
      null,
      failures.map(({ page, reason }) => el("li", null, el("b", null, `Page ${page}`), " ", reason)),
    ),
  );
}

async function end(job) {
  if (!going(known.jobs.get(job.id) ?? job)) {
    dismissed.add(keyOf(job));
    return showJobs();
  }
  try {
    await api.stopJob(job.id);
  } catch (error) {
    complain(error);
  }
}

/** Jobs that ended well are left out: their manual stands in the list below. */
function showJobs() {
  const shown = [...known.jobs.values()].filter((job) => !dismissed.has(keyOf(job)) && (job.state !== "done" || job.failed > 0));
  const order = { failed: 0, stopped: 0, done: 0, running: 1, queued: 2 };
  shown.sort((a, b) => order[a.state] - order[b.state] || a.id - b.id);
  keyed(lists.jobs, shown, keyOf, jobRow);
  badge();
}

/** The link to the library tells what is being added, wherever one is. */
function badge() {
  const jobs = [...known.jobs.values()].filter(going);
  const count = jobs.length + uploads.filter((one) => one.state !== "failed").length;
  $("#to-library").replaceChildren("Library", ...(count ? [el("span.badge", null, `${number(count)} adding`)] : []));
}

function jobEnded(job) {
  if (job.state === "done") announce(`${job.manual} is stored: ${plural(job.done, "page")}`);
  if (job.state === "failed") announce(`${job.manual} could not be stored. ${job.message ?? ""}`);
}

/** Draws at most once a frame, however many events come. */
function soon(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    setTimeout(() => {
      asked = false;
      draw();
    }, 50);
  };
}

export function startAdding() {
  const drawJobs = soon(showJobs);
  const drawUploads = soon(() => {
    showUploads();
    badge();
  });
  on("jobs", drawJobs);
  on("job", (job) => {
    drawJobs();
    jobEnded(job);
  });
  onUploads(drawUploads);
}
