/** One's jobs, newest first: state, search, delete; looked at again while any of them moves. */

import { murmur, wantsKey } from "./api.js";
import { h, say, toast } from "./dom.js";
import { forget } from "./store.js";
import { clock, explain, state, when } from "./words.js";

const PAGE = 50;
const LOOK_MS = 2000;
const MOVING = new Set(["queued", "processing"]);

export function jobList(signal) {
  const known = new Map();
  let pages = 1;
  const rows = h("ul", { class: "jobs" });
  const search = h("input", { type: "search", placeholder: "Search by name", "aria-label": "Search jobs by name", oninput: draw });
  const filter = h("select", { "aria-label": "Show jobs by state", onchange: () => refresh(true) },
    [["", "All states"], ["queued", "Waiting"], ["processing", "Transcribing"], ["completed", "Done"], ["failed", "Failed"], ["canceled", "Canceled"]]
      .map(([value, text]) => h("option", { value }, text)));
  const more = h("button", { type: "button", class: "quiet", hidden: true, onclick: older }, "Show older jobs");
  const none = h("p", { class: "muted", role: "status" });
  const element = h("section", { "aria-labelledby": "jobs-title" },
    h("div", { class: "row spread" }, h("h2", { id: "jobs-title" }, "Jobs"), h("div", { class: "row" }, search, filter)),
    rows, none, more);

  function draw() {
    const wanted = search.value.trim().toLowerCase();
    const shown = [...known.values()]
      .filter((job) => job.audio.filename.toLowerCase().includes(wanted) || job.id.startsWith(wanted))
      .sort((a, b) => b.created_at.localeCompare(a.created_at));
    // Rows keep their place and focus while nothing but their state changes.
    const old = new Map([...rows.children].map((row) => [row.dataset.id, row]));
    rows.replaceChildren(...shown.map((job) => {
      const held = old.get(job.id);
      if (held?.dataset.as === JSON.stringify([job.status, job.progress.fraction])) return held;
      return row(job);
    }));
    say(none, shown.length ? "" : wanted ? "No job of that name." : "No jobs yet.");
  }

  function row(job) {
    const name = job.audio.filename || job.id.slice(0, 8);
    const done = job.status === "processing" ? `${Math.floor(job.progress.fraction * 100)} %` : "";
    return h("li", { dataset: { id: job.id, as: JSON.stringify([job.status, job.progress.fraction]) } },
      h("a", { class: "name", href: `#/jobs/${job.id}` }, name),
      h("span", { class: `state ${job.status}` }, `${state(job)} ${done}`.trim()),
      h("span", { class: "muted" }, job.audio.duration_s ? clock(job.audio.duration_s) : ""),
      h("span", { class: "muted" }, when(job.created_at)),
      h("button", { type: "button", class: "quiet", "aria-label": `Delete ${name}`, onclick: () => remove(job, name) }, "Delete"));
  }

  async function remove(job, name) {
    if (!confirm(`Delete ${name} and its transcript?`)) return;
    try {
      await murmur.remove(job.id);
      await forget(job.id);
      known.delete(job.id);
      draw();
    } catch (error) {
      toast(explain(error), "bad");
    }
  }

  async function refresh(anew = false) {
    if (anew === true) pages = 1;
    try {
      // All that is shown is asked for: a job that was loaded as an older one moves, and goes, like any other.
      const status = filter.value;
      const found = [];
      let cursor;
      for (let page = 0; page < pages && cursor !== null; page++) {
        const answer = await murmur.jobs({ limit: PAGE, status, cursor, signal });
        found.push(...answer.jobs);
        cursor = answer.cursor;
      }
      if (status !== filter.value) return;
      known.clear();
      for (const job of found) known.set(job.id, job);
      more.hidden = !cursor;
      draw();
    } catch (error) {
      if (signal.aborted) return;
      say(none, explain(error));
      wantsKey(error);
      throw error;
    }
  }

  function older() {
    pages += 1;
    refresh().catch(() => {});
  }

  async function look() {
    await refresh();
    while (!signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      const moving = [...known.values()].some((job) => MOVING.has(job.status));
      if (!signal.aborted && moving && document.visibilityState === "visible") await refresh();
    }
  }
  look().catch(() => {});
  return { element, refresh: () => refresh().catch(() => {}) };
}
