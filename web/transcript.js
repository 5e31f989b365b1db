/** The segments: live ones as they come, then all of them to click, hear and mend. */

import { h } from "./dom.js";
import { retimed, voiceOf } from "./formats.js";
import { clock } from "./words.js";

const UNSURE = 0.5;

/**
 * @param {object} how
 * @param {(time: number) => void} how.seek Plays from a time.
 * @param {(edits: Record<number, string>) => void} how.changed Told of every edit: texts by the segment's number.
 */
export function transcriptView({ seek, changed }) {
  const list = h("ol", { class: "segments", "aria-label": "Transcript" });
  const element = h("section", { class: "transcript", "aria-label": "Transcript" }, list);
  let segments = [];
  let edits = {};
  let speakers = [];
  let lit = [];
  let words = []; // [start, end, element], by time

  function row(segment, index) {
    const text = h("p", { class: "text" });
    const mark = (segment.low_confidence ?? segment.doubtful) ? h("span", { class: "doubt", title: "The model was unsure of this segment" }, "unsure") : null;
    const item = h("li", { class: "segment", dataset: { index, speaker: speakerNumber(voiceOf(segment)) } },
      h("button", { type: "button", class: "time", "aria-label": `Play from ${clock(segment.start)}`, onclick: () => seek(segment.start) }, clock(segment.start)),
      h("div", { class: "said" }, voiceOf(segment) ? h("span", { class: "speaker" }, voiceOf(segment)) : null, text),
      mark,
      index === null ? null : h("button", { type: "button", class: "quiet edit", "aria-label": `Edit the segment at ${clock(segment.start)}`, onclick: () => edit(index, item) }, "Edit"));
    fill(text, segment);
    return item;
  }

  function fill(place, segment) {
    if (!segment.words?.length) {
      place.replaceChildren(segment.text.trim());
      return;
    }
    place.replaceChildren(...segment.words.flatMap((word, at) => {
      const unsure = word.probability < UNSURE;
      const said = h("span", {
        class: unsure ? "word unsure" : "word",
        title: unsure ? `${Math.round(word.probability * 100)} % sure` : null,
        dataset: { start: word.start },
      }, word.word.trimStart());
      return at && word.word.startsWith(" ") ? [" ", said] : [said];
    }));
  }

  function speakerNumber(speaker) {
    if (!speaker) return "";
    if (!speakers.includes(speaker)) speakers.push(speaker);
    return String(speakers.indexOf(speaker) % 8);
  }

  function index() {
    words = segments.flatMap((segment, number) => {
      const item = list.children[number];
      const spans = [...item.querySelectorAll(".word")];
      if (spans.length) return segment.words.map((word, at) => [word.start, word.end, spans[at], item]);
      return [[segment.start, segment.end, null, item]];
    });
  }

  function edit(number, item) {
    const segment = segments[number];
    const place = item.querySelector(".text");
    const field = h("textarea", { "aria-label": `Text of the segment at ${clock(segment.start)}`, rows: Math.max(2, Math.ceil(segment.text.length / 60)) });
    field.value = segment.text.trim();
    const close = () => {
      form.replaceWith(place);
      item.classList.remove("editing");
      item.querySelector(".edit").focus();
    };
    const save = () => {
      mend(number, field.value);
      fill(place, segments[number]);
      item.classList.toggle("edited", number in edits);
      index();
      changed(edits);
      close();
    };
    const form = h("div", { class: "editor" }, field, h("div", { class: "row" },
      h("button", { type: "button", class: "primary", onclick: save }, "Save"),
      h("button", { type: "button", class: "quiet", onclick: close }, "Cancel"),
      h("span", { class: "muted hint" }, "Ctrl+Enter saves, Esc cancels")));
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") close();
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
    });
    item.classList.add("editing");
    place.replaceWith(form);
    field.focus();
  }

  function mend(number, text) {
    const original = segments[number].original ?? segments[number];
    const clean = text.trim().replace(/\s+/g, " ");
    if (clean === original.text.trim()) {
      segments[number] = original;
      delete edits[number];
    } else {
      segments[number] = { ...retimed(original, clean), original };
      edits[number] = clean;
    }
  }

  list.addEventListener("click", (event) => {
    const word = event.target.closest(".word");
    if (word && !getSelection().toString()) seek(Number(word.dataset.start));
  });

  return {
    element,
    /** A segment that has just been computed. Spans of a long recording are computed side by side. */
    add(segment) {
      const item = row(segment, null);
      const before = [...list.children].find((other) => Number(other.dataset.start) > segment.start);
      item.dataset.start = segment.start;
      item.classList.add("fresh");
      list.insertBefore(item, before ?? null);
    },
    live: (on) => list.classList.toggle("live", on),
    settle: () => list.classList.remove("live"),
    show(transcript, kept) {
      segments = transcript.segments.map((segment) => ({ ...segment }));
      edits = {};
      speakers = [];
      for (const [number, text] of Object.entries(kept)) if (segments[number]) mend(Number(number), text);
      list.replaceChildren(...segments.map(row));
      for (const number of Object.keys(edits)) list.children[number].classList.add("edited");
      if (!segments.length) element.append(h("p", { class: "muted" }, "No speech was found in this recording."));
      index();
    },
    segments: () => segments,
    doubts: (on) => list.classList.toggle("no-doubts", !on),
    /** Light what is spoken at a time. */
    light(time) {
      let [low, high] = [0, words.length];
      while (low < high) {
        const middle = (low + high) >> 1;
        if (words[middle][0] <= time) low = middle + 1;
        else high = middle;
      }
      const found = words[low - 1];
      const now = found && time < found[1] + 0.3 ? found.slice(2).filter(Boolean) : [];
      if (now[0] === lit[0] && now.length === lit.length) return;
      for (const one of lit) one.classList.remove("now");
      for (const one of now) one.classList.add("now");
      if (now.length && now.at(-1) !== lit.at(-1)) now.at(-1).scrollIntoView({ block: "nearest" });
      lit = now;
    },
  };
}
