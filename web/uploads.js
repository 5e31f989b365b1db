/** Uploads under way, a few at a time, each with a bar and a way to give it up. */

import { murmur, wantsKey } from "./api.js";
import { h, say } from "./dom.js";
import { keepRecording } from "./store.js";
import { explain, size } from "./words.js";

const AT_ONCE = 3;

export function uploads(signal, changed) {
  const list = h("ul", { class: "uploads" });
  const element = h("section", { "aria-labelledby": "uploads-title", hidden: true },
    h("h2", { id: "uploads-title" }, "Uploads"), list);
  const waiting = [];
  let running = 0;

  // Leaving the view doesn't give uploads up; leaving the page would.
  const warn = (event) => event.preventDefault();

  function next() {
    while (running < AT_ONCE && waiting.length) {
      if (!running) addEventListener("beforeunload", warn);
      running += 1;
      waiting.shift()().finally(() => {
        running -= 1;
        if (!running && !waiting.length) removeEventListener("beforeunload", warn);
        next();
      });
    }
  }

  return {
    element,
    add(files, options) {
      if (!files.length) return;
      element.hidden = false;
      for (const file of files) {
        const row = upload(file, options, { alone: files.length === 1, signal, changed });
        list.prepend(row.element);
        waiting.push(row.start);
      }
      next();
    },
  };
}

function upload(file, options, { alone, signal, changed }) {
  const giveUp = new AbortController();
  const bar = h("progress", { max: 1, value: 0, "aria-label": `Upload of ${file.name}` });
  const said = h("span", { class: "said", role: "status" }, "waiting");
  const end = h("button", { type: "button", class: "quiet", "aria-label": `Cancel the upload of ${file.name}` }, "Cancel");
  const element = h("li", { class: "upload" },
    h("span", { class: "name" }, file.name), h("span", { class: "muted" }, size(file.size)), bar, said, end);
  end.addEventListener("click", () => giveUp.abort(new DOMException("Canceled.", "AbortError")));

  async function start() {
    const onProgress = (sent, total) => {
      bar.value = sent / total;
      say(said, sent < total ? `${Math.floor((100 * sent) / total)} %` : "checking the recording");
    };
    try {
      giveUp.signal.throwIfAborted();
      const job = await murmur.submit(file, options, { onProgress, signal: giveUp.signal, filename: file.name });
      await keepRecording(job.id, file);
      element.replaceChildren(h("a", { class: "name", href: `#/jobs/${job.id}` }, file.name), h("span", { class: "said" }, "sent"));
      if (alone && !signal.aborted) location.hash = `#/jobs/${job.id}`;
      else changed();
    } catch (error) {
      bar.remove();
      element.classList.add("bad");
      say(said, explain(error));
      const again = h("button", { type: "button", class: "quiet", "aria-label": `Send ${file.name} again` }, "Try again");
      again.addEventListener("click", () => {
        const row = upload(file, options, { alone, signal, changed });
        element.replaceWith(row.element);
        row.start();
      });
      end.replaceWith(again);
      wantsKey(error);
    }
  }
  return { element, start };
}
