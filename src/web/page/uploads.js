// Files on their way to the server: a queue of any length, three at a time, kept while the server is away.
import * as api from "./api.js";
import { $, bytes } from "./dom.js";
import { askForKey } from "./session.js";
import { complain, message } from "./notices.js";
import { keepJob, known, on } from "./server.js";

const AT_ONCE = 3;
const MOST_LOSSES = 3;
/** Statuses of a file that will not be taken the next time either. */
const FINAL = [400, 413, 415];
const READ = /\.(pdf|png|jpe?g|webp|gif|bmp|tiff?)$/i;

/** Each `{file, state: waiting|sending|failed, sent, losses, told, hints, final, request}`. */
export const uploads = [];
let heard = () => {};
let held = false;

export const onUploads = (hear) => (heard = hear);

export function addFiles(files) {
  if (known.about?.can_upload === false) return message("This library takes no uploads.");
  for (const file of files) uploads.push({ file, state: "waiting", sent: 0, losses: 0, told: "", hints: [] });
  next();
}

function next() {
  while (!held && uploads.filter((one) => one.state === "sending").length < AT_ONCE) {
    const one = uploads.find((one) => one.state === "waiting");
    if (!one) break;
    send(one);
  }
  heard();
}

const leave = (one) => uploads.splice(uploads.indexOf(one), 1);

function fail(one, { message: told, hints, status }) {
  Object.assign(one, { state: "failed", told, hints, final: FINAL.includes(status) });
}

function send(one) {
  const most = known.about?.max_upload;
  if (most && one.file.size > most)
    return fail(one, { message: `Larger than ${bytes(most)}, which is the most this library takes.`, hints: [], status: 413 });
  const request = new XMLHttpRequest();
  Object.assign(one, { state: "sending", sent: 0, request });
  request.upload.onprogress = ({ loaded }) => {
    one.sent = loaded;
    heard();
  };
  request.onload = () => {
    answered(one, request);
    next();
  };
  request.onerror = () => lose(one);
  request.open("POST", api.url("manuals", { name: one.file.name }));
  request.send(one.file);
}

/** No answer: once more when the server is back, unless it is this very file that ends the connection. */
function lose(one) {
  one.losses++;
  if (one.losses < MOST_LOSSES) one.state = "waiting";
  else fail(one, { message: "The connection was lost three times while this file was sent.", hints: [] });
  held = true;
  api.tellAway();
  heard();
}

function answered(one, request) {
  if (request.status === 202) {
    leave(one);
    keepJob(JSON.parse(request.responseText).job);
    return;
  }
  const problem = api.problemOf(request.status, request.responseText, request.getResponseHeader("Retry-After"));
  if (problem.status === 401) return later(one, askForKey());
  if (problem.status === 503) return later(one, new Promise((resolve) => setTimeout(resolve, problem.wait * 1000)));
  fail(one, problem);
}

/** Back into the queue, which waits for the promise. */
function later(one, until) {
  one.state = "waiting";
  held = true;
  until.then(goOn);
}

function goOn() {
  held = false;
  next();
}

export function cancel(one) {
  one.request?.abort();
  leave(one);
  next();
}

export function retry(one) {
  Object.assign(one, { state: "waiting", losses: 0 });
  next();
}

/** The files of what was dropped; folders are searched for what can be read. */
async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  return (await Promise.all(entries.map((entry) => (entry.isFile ? fileOf(entry) : filesBelow(entry))))).flat();
}

const fileOf = (entry) => new Promise((resolve, reject) => entry.file(resolve, reject));

async function filesBelow(folder) {
  const reader = folder.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return (await Promise.all(found)).flat();
    for (const entry of some) {
      if (entry.isDirectory) found.push(filesBelow(entry));
      else if (READ.test(entry.name)) found.push(fileOf(entry));
    }
  }
}

export const readable = (files) => [...files].filter((file) => READ.test(file.name));

/** Files may be dropped anywhere on the page. */
export function startUploads(onDrop) {
  const sign = $("#drop-sign");
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  let depth = 0;
  const over = (step) => (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    depth = Math.max(0, depth + step);
    sign.hidden = depth === 0;
  };
  addEventListener("dragenter", over(1));
  addEventListener("dragover", over(0));
  addEventListener("dragleave", over(-1));
  addEventListener("drop", async (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    depth = 0;
    sign.hidden = true;
    try {
      const files = await filesOf(event.dataTransfer);
      if (!files.length) return message("There is no PDF or picture in what was dropped.");
      addFiles(files);
      onDrop();
    } catch (error) {
      complain(error);
    }
  });
  addEventListener("beforeunload", (event) => {
    if (uploads.some((one) => one.state !== "failed")) event.preventDefault();
  });
  on("back", goOn);
}
