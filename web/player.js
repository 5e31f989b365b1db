/** The recording, played from what this browser holds: the platform deletes it once it is transcribed. */

import { h } from "./dom.js";

const SPEEDS = [0.75, 1, 1.25, 1.5, 2];

export function player(signal) {
  const audio = h("audio", { controls: true, preload: "metadata", "aria-label": "Recording" });
  const speed = h("select", { "aria-label": "Speed", onchange: () => (audio.playbackRate = Number(speed.value)) },
    SPEEDS.map((value) => h("option", { value, selected: value === 1 }, `${value}×`)));
  const picker = h("input", {
    type: "file", id: "local-audio", accept: "audio/*,video/*", class: "hidden-input", "aria-label": "Choose the recording to listen to",
    onchange: () => picker.files[0] && load(picker.files[0]),
  });
  const missing = h("p", { class: "missing" },
    "This browser doesn't hold the recording. ", picker, h("label", { for: "local-audio", class: "link" }, "Choose the file"), " to listen along.");
  const element = h("div", { class: "player", hidden: true }, audio, speed, missing);
  let url;

  function load(blob) {
    element.hidden = false;
    if (url) URL.revokeObjectURL(url);
    url = blob ? URL.createObjectURL(blob) : undefined;
    audio.hidden = speed.hidden = !blob;
    missing.hidden = Boolean(blob);
    if (blob) audio.src = url;
  }
  signal.addEventListener("abort", () => {
    audio.pause();
    if (url) URL.revokeObjectURL(url);
  });

  return {
    element,
    load,
    seek(time) {
      if (!url) return;
      audio.currentTime = time;
      audio.play().catch(() => {});
    },
    skip: (seconds) => (audio.currentTime = Math.max(0, audio.currentTime + seconds)),
    toggle: () => (audio.paused ? audio.play().catch(() => {}) : audio.pause()),
    /** Call `tell(seconds)` as the recording plays, at every frame, and after each seek. */
    listen(tell) {
      const frame = () => {
        tell(audio.currentTime);
        if (!audio.paused && !signal.aborted) requestAnimationFrame(frame);
      };
      audio.addEventListener("play", frame);
      audio.addEventListener("seeked", () => tell(audio.currentTime));
    },
  };
}
