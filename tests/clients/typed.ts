// Uses the types that openapi-typescript wrote (`api.d.ts`): a wrong name or type here isn't compiled.
import { readFile } from "node:fs/promises";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Job = components["schemas"]["JobOut"];

const [url, file] = process.argv.slice(2) as [string, string];
const api = createClient<paths>({ baseUrl: url });
const audio = new Blob([new Uint8Array(await readFile(file))]);

const form = new FormData();
form.set("file", audio, "typed.flac");
form.set("language", "en");
const submitted = await api.POST("/v1/jobs", {
  body: { file: "", language: "en" },
  bodySerializer: () => form,
  params: { header: { prefer: "wait=60" } },
});
const job: Job = submitted.data!;
const raw = await api.POST("/v1/jobs", {
  body: "",
  bodySerializer: () => audio,
  headers: { "content-type": "application/octet-stream" },
  params: { query: { language: "en", filename: "raw.flac", beam_size: 3 } },
});
const page = await api.GET("/v1/jobs", { params: { query: { limit: 10, status: "completed" } } });
const models = await api.GET("/v1/models");
const languages = await api.GET("/v1/languages");
const stats = await api.GET("/stats");
const missing = await api.GET("/v1/jobs/{job_id}", { params: { path: { job_id: "0".repeat(32) } } });
const transcript = await api.GET("/v1/jobs/{job_id}/result", {
  params: { path: { job_id: job.id }, query: { format: "verbose_json" } },
});
const verbose = transcript.data as components["schemas"]["VerboseTranscript"];

console.log(
  JSON.stringify({
    status: job.status,
    raw: raw.data!.audio.filename,
    beams: raw.data!.options.beam_size,
    jobs: page.data!.jobs.map((one) => one.id).includes(job.id),
    models: models.data!.data.filter((model) => model.default && model.alias_of === null).length,
    languages: languages.data!.languages.length,
    workers: stats.data!.workers.map((worker) => worker.engine).length,
    missing: missing.error!.code,
    segments: verbose.segments.map((segment) => segment.text.trim()),
  }),
);
