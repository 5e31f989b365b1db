/** One job: its state, its segments as they are computed, then the transcript to hear, mend, copy and take along. */

import { murmur, wantsKey } from "./api.js";
import { h, say, toast } from "./dom.js";
import { FORMATS, written } from "./formats.js";
import { player } from "./player.js";
import * as store from "./store.js";
import { transcriptView } from "./transcript.js";
import { clock, duration, explain, place, state } from "./words.js";

const TERMINAL = new Set(["completed", "failed", "canceled", "expired"]);

export function jobView(main, id, signal) {
  const title = h("h1", {}, "…");
  const facts = h("p", { class: "facts muted" });
  const status = h("p", { class: "status", role: "status" });
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Progress", hidden: true });
  const stop = h("button", { type: "button", class: "quiet", hidden: true, onclick: cancel }, "Cancel");
  const notes = h("ul", { class: "notes", hidden: true });
  const sound = player(signal);
  const text = transcriptView({ seek: sound.seek, changed: keepEdits });
  const tools = toolbar();
  main.append(
    h("p", {}, h("a", { href: "#/" }, "← All jobs")), title, facts,
    h("div", { class: "row" }, status, stop), bar, notes, tools, text.element, sound.element);
  sound.listen((time) => text.light(time));
  document.addEventListener("keydown", shortcuts, { signal });

  let job;
  let transcript = null;

  async function run() {
    show(await murmur.job(id, { signal }));
    sound.load(await store.recording(id), job.audio.filename);
    if (!TERMINAL.has(job.status)) await follow();
    if (job.status === "completed") await finish();
    else text.settle();
  }

  /** Events bring segments at once; where the queue stands is asked for besides, while the job waits. */
  async function follow() {
    text.live(true);
    const asking = askForPlace();
    for await (const { type, data } of murmur.stream(id, { signal })) {
      if (type === "segment") text.add(data);
      else if (type === "warning") note(data.message);
      else if (type === "progress") show({ ...job, status: "processing", queue: undefined, progress: data });
      else if (type === "status") show({ ...job, status: data.status, queue: undefined });
    }
    text.live(false);
    show(await murmur.job(id, { signal }));
    await asking;
  }

  async function askForPlace() {
    while (!signal.aborted && job.status === "queued") {
      await new Promise((resolve) => setTimeout(resolve, 2000));
      if (signal.aborted || job.status !== "queued") return;
      const now = await murmur.job(id, { signal }).catch(() => null);
      if (now && job.status === "queued") show(now);
    }
  }

  async function finish() {
    transcript = await murmur.result(id, "verbose_json", { signal });
    for (const warning of transcript.warnings ?? []) note(warning.message ?? warning.code);
    text.show(transcript, store.read(`edits.${id}`) ?? {});
    tools.hidden = false;
    show({ ...job, language: transcript.language ?? job.language });
  }

  function show(now) {
    job = now;
    const name = job.audio.filename || "Recording";
    say(title, name);
    document.title = `${name} · Murmuration`;
    const length = job.audio.duration_s;
    say(facts, [
      length && clock(length), job.language && `language ${job.language}`, `model ${job.model}`,
      job.status === "completed" && !job.cached && job.compute_s && length && `${(length / job.compute_s).toFixed(1)}× real time`,
    ].filter(Boolean).join(" · "));
    const share = Math.floor(job.progress.fraction * 100);
    const sentences = {
      queued: () => place(job.queue),
      processing: () => (share ? `Transcribing, ${share} %` : "Transcribing"),
      failed: () => explain(job.error ?? { message: "The job failed" }),
      expired: () => "This transcript isn't kept any more. Send the recording again.",
      completed: () => {
        if (job.cached) return "Done at once: this recording was known";
        return job.compute_s ? `Done in ${duration(job.compute_s)} of computing` : state(job);
      },
    };
    say(status, (sentences[job.status] ?? (() => state(job)))());
    status.className = `status ${job.status}`;
    bar.hidden = stop.hidden = TERMINAL.has(job.status);
    if (job.status === "queued") bar.removeAttribute("value");
    else bar.value = job.progress.fraction;
    for (const warning of job.warnings ?? []) note(warning.message ?? warning.code);
  }

  function note(words) {
    if (!words || [...notes.children].some((line) => line.textContent === words)) return;
    notes.append(h("li", {}, words));
    notes.hidden = false;
  }

  async function cancel() {
    try {
      show(await murmur.cancel(id));
    } catch (error) {
      toast(explain(error), "bad");
    }
  }

  async function remove() {
    if (!confirm("Delete this job and its transcript?")) return;
    try {
      await murmur.remove(id);
      await store.forget(id);
      location.hash = "#/";
    } catch (error) {
      toast(explain(error), "bad");
    }
  }

  function keepEdits(edits) {
    store.write(`edits.${id}`, Object.keys(edits).length ? edits : null);
  }

  function toolbar() {
    const format = h("select", { "aria-label": "Format" }, FORMATS.map(([value, label]) => h("option", { value }, label)));
    const doubt = h("input", { type: "checkbox", checked: true, onchange: () => text.doubts(doubt.checked) });
    return h("div", { class: "toolbar row", role: "group", "aria-label": "Transcript", hidden: true },
      h("button", { type: "button", class: "button", onclick: copy }, "Copy text"),
      h("span", { class: "row tight" }, format, h("button", { type: "button", class: "button", onclick: () => download(format.value) }, "Download")),
      h("label", { class: "check" }, doubt, "Mark unsure words"),
      h("button", { type: "button", class: "quiet danger", onclick: remove }, "Delete"));
  }

  async function copy() {
    try {
      await navigator.clipboard.writeText(written("text", transcript, text.segments()));
      toast("Copied.");
    } catch {
      toast("The browser doesn't let this page copy. Download the text instead.", "bad");
    }
  }

  function download(format) {
    const blob = new Blob([written(format, transcript, text.segments())], { type: "text/plain;charset=utf-8" });
    const [, , extension] = FORMATS.find(([value]) => value === format);
    const url = URL.createObjectURL(blob);
    h("a", { href: url, download: `${(job.audio.filename || "transcript").replace(/\.[^.]+$/, "")}.${extension}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }

  function shortcuts(event) {
    if (event.target.closest("input, textarea, select, button, a, dialog, audio") || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = { " ": sound.toggle, ArrowLeft: () => sound.skip(-5), ArrowRight: () => sound.skip(5) }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  run().catch((error) => {
    if (signal.aborted) return;
    bar.hidden = stop.hidden = true;
    if (title.textContent === "…") say(title, "Job");
    say(status, explain(error));
    status.className = "status failed";
    wantsKey(error);
  });
}
