/** The first view: recordings in, with their options; uploads under way; one's jobs. */

import { murmur, wantsKey } from "./api.js";
import { h, say, toast } from "./dom.js";
import { jobList } from "./jobs.js";
import { optionFields } from "./options.js";
import { recorder } from "./recorder.js";
import { keepRecording } from "./store.js";
import { uploads } from "./uploads.js";
import { explain } from "./words.js";

export function home(main, signal) {
  const options = optionFields();
  const jobs = jobList(signal);
  const list = uploads(signal, jobs.refresh);
  const send = (files) => list.add(files, options.values());

  const picker = h("input", {
    type: "file", id: "picker", multiple: true, accept: "audio/*,video/*,.mkv,.opus,.flac", class: "hidden-input",
    "aria-label": "Choose recordings",
    onchange: () => {
      send([...picker.files]);
      picker.value = "";
    },
  });
  const zone = h("section", { class: "drop", "aria-labelledby": "drop-title" },
    h("h1", { id: "drop-title" }, "Speech to text"),
    h("p", {}, "Drop recordings or videos here. They go to this platform and nowhere else."),
    h("div", { class: "row center" },
      picker,
      h("label", { for: "picker", class: "button primary" }, "Choose files"),
      recorder((file) => send([file]), signal)),
    options.element);
  for (const kind of ["dragenter", "dragover"]) zone.addEventListener(kind, () => zone.classList.add("over"));
  for (const kind of ["dragleave", "drop"]) zone.addEventListener(kind, () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => send([...event.dataTransfer.files]));

  main.append(zone, list.element, jobs.element);
  options.load().catch((error) => wantsKey(error) || (signal.aborted || toast(explain(error), "bad")));
}
