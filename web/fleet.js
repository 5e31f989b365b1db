/** For operators: queue, workers, engines, rates, cache hits. */

import { base, murmur, wantsKey } from "./api.js";
import { h } from "./dom.js";
import { duration, explain } from "./words.js";

const LOOK_MS = 2000;

export function fleet(main, signal) {
  const tiles = h("dl", { class: "tiles" });
  const body = h("tbody");
  const note = h("p", { class: "muted", role: "status" }, "Looking …");
  const links = h("p", { class: "row" }, h("a", { href: `${base}/docs` }, "API documentation"));
  const heads = ["Worker", "Model", "Engine", "Device", "Speed", "At work"].map((text) => h("th", { scope: "col" }, text));
  main.append(h("h1", {}, "Fleet"), tiles, h("h2", {}, "Workers"),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Workers" }, h("table", {}, h("thead", {}, h("tr", {}, heads)), body)), note, links);
  tools(links, signal);

  async function look() {
    while (!signal.aborted) {
      if (document.visibilityState === "visible") {
        const stats = await murmur.stats({ signal });
        draw(stats);
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }

  function draw(stats) {
    const { queue, workers, cache, jobs } = stats;
    const rate = workers.reduce((sum, worker) => sum + (worker.rate ?? 0), 0);
    const facts = [
      ["Workers", workers.length],
      ["Waiting", `${jobs.queued} ${jobs.queued === 1 ? "job" : "jobs"}`],
      ["Audio in the queue", duration(queue.audio_seconds)],
      ["Oldest waits", queue.oldest_age_s ? duration(queue.oldest_age_s) : "–"],
      ["At work", `${jobs.processing} ${jobs.processing === 1 ? "job" : "jobs"}`],
      ["Speed", rate ? `${rate.toFixed(1)}×` : "–"],
      ["From the cache", cache.hit_ratio === null ? "–" : `${Math.round(cache.hit_ratio * 100)} %`],
      ["Dead letters", stats.dead_letters],
    ];
    tiles.replaceChildren(...facts.map(([name, value]) => h("div", { class: name === "Dead letters" && value ? "bad" : "" }, h("dt", {}, name), h("dd", {}, String(value)))));
    body.replaceChildren(...workers.map((worker) => h("tr", {},
      h("th", { scope: "row" }, worker.id),
      h("td", {}, worker.models.join(", ")),
      h("td", {}, worker.engine),
      h("td", {}, `${worker.device} ${worker.compute_type}`),
      h("td", {}, worker.rate ? `${worker.rate.toFixed(1)}×` : "–"),
      h("td", {}, `${worker.running} of ${worker.slots}`))));
    const unserved = queue.unserved.map(({ model, recordings }) => `${recordings} for ${model}`).join(", ");
    note.textContent = !workers.length
      ? "No worker lives: jobs are accepted and wait."
      : unserved ? `No worker serves what some jobs ask for: ${unserved}.` : "";
  }
  look().catch((error) => {
    if (signal.aborted) return;
    note.textContent = explain(error);
    wantsKey(error);
  });
}

/** Flower and Grafana stand beside the API where nginx is the edge; elsewhere they aren't there, and aren't linked. */
async function tools(links, signal) {
  for (const [name, path] of [["Flower", "/flower/"], ["Grafana", "/grafana/"]]) {
    const answer = await fetch(base + path, { method: "HEAD", signal }).catch(() => null);
    if (answer?.ok || answer?.status === 401) links.append(h("a", { href: base + path }, name));
  }
}
