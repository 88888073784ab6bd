// The size of the page on its desk: whole by default, larger around a point, moved by dragging or by a swipe.
import { $ } from "./dom.js";
import { needWidth } from "./picture.js";

const LEVELS = [1, 1.25, 1.5, 2, 2.5, 3, 4, 6];
const CLICKED = 2;
const WIDEST = 1000;
const SWIPE = 60;

const stage = $("#stage");
const sheet = $("#sheet");

let ratio = Math.SQRT2;
let level = 1;

/** Tells height over width of the page. */
export function setRatio(next) {
  if (!next || Math.abs(next - ratio) < 0.001) return;
  ratio = next;
  layout();
}

/** Beside a list the whole page fits; alone it takes the width. */
function fitWidth() {
  const style = getComputedStyle(stage);
  const width = stage.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  const height = stage.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
  const alone = document.body.classList.contains("alone");
  return Math.max(120, alone ? Math.min(width, WIDEST) : Math.min(width, height / ratio));
}

/** Scroll bars come and go with the size of the sheet and take room from the stage: then its size is computed once more. */
function layout() {
  if (!stage.clientWidth) return;
  const { clientWidth, clientHeight } = stage;
  size();
  if (stage.clientWidth !== clientWidth || stage.clientHeight !== clientHeight) size();
  $("#zoom-fit").textContent = `${Math.round(level * 100)} %`;
  stage.classList.toggle("near", level > 1);
  needWidth(sheet.offsetWidth * devicePixelRatio * (visualViewport?.scale ?? 1));
}

function size() {
  const width = Math.floor(fitWidth() * level);
  sheet.style.inlineSize = `${width}px`;
  sheet.style.blockSize = `${Math.round(width * ratio)}px`;
}

/** Changes the size so that the point (of the window; the middle if none) stays where it is. */
function setLevel(next, point) {
  const box = stage.getBoundingClientRect();
  const at = point ?? { x: box.left + box.width / 2, y: box.top + box.height / 2 };
  const before = sheet.getBoundingClientRect();
  const x = (at.x - before.left) / before.width;
  const y = (at.y - before.top) / before.height;
  level = next;
  layout();
  const after = sheet.getBoundingClientRect();
  stage.scrollLeft += after.left + x * after.width - at.x;
  stage.scrollTop += after.top + y * after.height - at.y;
}

export function zoom(step, point) {
  const next = step > 0 ? LEVELS.find((one) => one > level) : LEVELS.findLast((one) => one < level);
  if (next) setLevel(next, point);
}

export const fit = () => setLevel(1);

/** A new page starts whole; its neighbour in the same manual keeps the size and the place. */
export function startPage({ keep }) {
  if (keep) return;
  level = 1;
  stage.scrollTo(0, 0);
  layout();
}

/** By mouse: a click looks closer or goes back, dragging moves. Fingers have the browser's own ways. */
function hold(event) {
  if (event.pointerType !== "mouse" || event.button) return;
  event.preventDefault();
  stage.focus({ preventScroll: true });
  const from = { x: event.clientX, y: event.clientY, left: stage.scrollLeft, top: stage.scrollTop };
  const held = new AbortController();
  const { signal } = held;
  let moved = false;
  const drag = ({ clientX, clientY }) => {
    moved ||= Math.hypot(clientX - from.x, clientY - from.y) > 4;
    stage.classList.toggle("held", moved);
    stage.scrollTo(from.left - (clientX - from.x), from.top - (clientY - from.y));
  };
  const release = ({ clientX, clientY, type }) => {
    held.abort();
    stage.classList.remove("held");
    if (!moved && type === "pointerup") setLevel(level > 1 ? 1 : CLICKED, { x: clientX, y: clientY });
  };
  stage.setPointerCapture(event.pointerId);
  stage.addEventListener("pointermove", drag, { signal });
  stage.addEventListener("pointerup", release, { signal });
  stage.addEventListener("pointercancel", release, { signal });
}

function wheel(event) {
  if (!event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  zoom(-event.deltaY, { x: event.clientX, y: event.clientY });
}

/** One finger, sideways, while nothing is enlarged: the next hit or the one before. */
function swipes(turn) {
  let from = null;
  stage.addEventListener(
    "touchstart",
    ({ touches }) => {
      const plain = touches.length === 1 && level === 1 && (visualViewport?.scale ?? 1) < 1.05;
      from = plain ? { x: touches[0].clientX, y: touches[0].clientY } : null;
    },
    { passive: true },
  );
  stage.addEventListener("touchend", ({ changedTouches: [end] }) => {
    if (!from) return;
    const x = end.clientX - from.x;
    if (Math.abs(x) > SWIPE && Math.abs(x) > 2 * Math.abs(end.clientY - from.y)) turn(x < 0 ? 1 : -1);
    from = null;
  });
}

export function startZoom({ turn }) {
  new ResizeObserver(layout).observe(stage);
  visualViewport?.addEventListener("resize", layout);
  sheet.addEventListener("pointerdown", hold);
  stage.addEventListener("wheel", wheel, { passive: false });
  $("#zoom-in").addEventListener("click", () => zoom(1));
  $("#zoom-out").addEventListener("click", () => zoom(-1));
  $("#zoom-fit").addEventListener("click", fit);
  swipes(turn);
}
