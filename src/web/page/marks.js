// Boxes around the words of the question, over the picture of the page: where its text layer has them.
import * as api from "./api.js";
import { $, el, find } from "./dom.js";

const marks = $("#marks");

let words = [];
let of = null;

/** Reads where the words of a page are; null: of no page. */
export async function readMarks(page, shown) {
  of = page;
  words = [];
  marks.replaceChildren();
  if (!page) return;
  try {
    const answer = await api.words(page);
    if (of !== page) return;
    words = answer.words;
    shown();
  } catch (error) {
    // A picture without boxes is good enough.
    if (!api.isExpected(error)) throw error;
  }
}

/** Draws the boxes of these words. */
export function showMarks(wanted) {
  const box = ({ place: [left, top, right, bottom] }) => {
    const made = el("span");
    const share = (value) => `${value * 100}%`;
    Object.assign(made.style, {
      left: share(left),
      top: share(top),
      width: share(right - left),
      height: share(bottom - top),
    });
    return made;
  };
  marks.replaceChildren(...words.filter(({ text }) => find(text, wanted).length).map(box));
}
