/**
 * Murmuration's API for browsers and Node 18 or newer. One file, no dependencies; types are in murmur.d.ts.
 *
 *   import { Murmur } from "./murmur.js";
 *   const murmur = new Murmur({ url: "http://127.0.0.1:8000" });
 *   const transcript = await murmur.transcribe(file, { language: "en" });
 *   console.log(transcript.text);
 *
 * Requests ride out restarts and pressure (no answer, 429, 502, 503, 504): they are sent again after the time that
 * `Retry-After` names, or after a growing pause. Submits carry an idempotency key, so that a repetition makes no
 * second job.
 */

const BUSY = new Set([429, 502, 503, 504]);
const TERMINAL = new Set(["completed", "failed", "canceled", "expired"]);
const FIRST_PAUSE_S = 0.5;
const LONGEST_PAUSE_S = 15;
const WAIT_S = 30;
const WEBHOOK_TOLERANCE_S = 300;

/** What every error of this file is. */
export class MurmurError extends Error {
  constructor(message) {
    super(message);
    this.name = this.constructor.name;
  }
}

/** The platform refused: `code` is stable and for programs, `status` is HTTP's. */
export class ApiError extends MurmurError {
  constructor(problem, status, { retryAfter = null, requestId = null } = {}) {
    super(problem.detail || problem.title || `status ${status}`);
    Object.assign(this, { code: problem.code || `http_${status}`, status, retryAfter, requestId, problem });
  }
}

/** No answer came, for longer than the client's patience. */
export class Unreachable extends MurmurError {}

/** The job that was waited for has no transcript: `job.status` is `failed`, `canceled` or `expired`. */
export class JobEnded extends MurmurError {
  constructor(job) {
    super(job.error ? job.error.message : `job ${job.id} is ${job.status}`);
    this.job = job;
  }
}

export class Murmur {
  /**
   * @param {object} [how]
   * @param {string} [how.url] Where the platform is; in a browser by default where the page came from.
   * @param {string} [how.key] API key, where the platform asks for one.
   * @param {number} [how.patience] Seconds from the first failure on for which a request is tried again while the
   *   platform is away or busy.
   * @param {typeof fetch} [how.fetch] Another `fetch`.
   * @param {(pause: number, why: MurmurError) => void} [how.onRetry] Told before each repetition.
   */
  constructor({ url = "", key = "", patience = 60, fetch = globalThis.fetch.bind(globalThis), onRetry } = {}) {
    this.url = url.replace(/\/+$/, "");
    Object.assign(this, { key, patience, onRetry });
    this._fetch = fetch;
  }

  /** Submit and wait; the transcript in `format` (`verbose_json` by default). */
  async transcribe(audio, options = {}, { format = "verbose_json", ...how } = {}) {
    const job = await this.submit(audio, options, how);
    await this.wait(job.id, how);
    return this.result(job.id, format, how);
  }

  /**
   * Hand in a recording; the job.
   *
   * @param audio A Blob or File, bytes, or the URL of a recording as a URL object.
   * @param options The API's: `language`, `model`, `word_timestamps`, …; null and undefined are left out.
   * @param how `onProgress(sent, total)` in bytes (browsers), `signal`, `filename`, `idempotencyKey`.
   */
  async submit(audio, options = {}, how = {}) {
    const { onProgress, signal, filename, idempotencyKey = uuid() } = how;
    const given = Object.entries(options).filter(([, value]) => value !== null && value !== undefined);
    const headers = { "Idempotency-Key": idempotencyKey };
    if (audio instanceof URL) {
      const body = JSON.stringify({ ...Object.fromEntries(given), url: audio.href });
      headers["Content-Type"] = "application/json";
      return this._json("/v1/jobs", { method: "POST", headers, body, signal });
    }
    const blob = audio instanceof Blob ? audio : new Blob([audio]);
    const form = new FormData();
    for (const [name, value] of given) for (const one of [value].flat()) form.append(name, asText(one));
    form.append("file", blob, filename || blob.name || "audio");
    const send = onProgress && typeof XMLHttpRequest !== "undefined" ? this._upload(onProgress) : undefined;
    return this._json("/v1/jobs", { method: "POST", headers, body: form, signal }, send);
  }

  /** A job as it is now; with `wait`, held until it has ended or for so many seconds (60 at most). */
  job(id, { wait, signal } = {}) {
    return this._json(`/v1/jobs/${encodeURIComponent(id)}${query({ wait })}`, { signal });
  }

  /** A job once it is completed. JobEnded: it ended without a transcript. */
  async wait(id, { signal } = {}) {
    for (;;) {
      const job = await this.job(id, { wait: WAIT_S, signal });
      if (job.status === "completed") return job;
      if (TERMINAL.has(job.status)) throw new JobEnded(job);
    }
  }

  /**
   * What happens to a job, until its end: `{id, type, data}` with type `status`, `progress`, `segment`, `warning`, and
   * last `done` or `failed`. Taken up where it broke off, nothing lost and nothing twice; `after` is an event's id.
   */
  async *stream(id, { after, signal } = {}) {
    const patience = new Patience(this.patience);
    for (;;) {
      try {
        const headers = after ? { "Last-Event-ID": after } : {};
        const answer = await this._once(`/v1/jobs/${encodeURIComponent(id)}/events`, { headers, signal });
        if (answer.status === 204) return;
        for await (const event of parse(answer.body)) {
          after = event.id;
          patience.renew();
          if (event.type === "error") event.type = "failed"; // its name in the first version
          yield event;
          if (event.type === "done" || event.type === "failed") return;
        }
        throw new Unreachable("the stream of events broke off");
      } catch (error) {
        await this._rest(error, patience, signal);
      }
    }
  }

  /** A transcript: an object for `json` and `verbose_json`, a string for `text`, `srt`, `vtt`, `tsv`. */
  async result(id, format = "verbose_json", { partial, signal } = {}) {
    const path = `/v1/jobs/${encodeURIComponent(id)}/result${query({ format, partial })}`;
    const answer = await this._answer(path, { signal });
    return format.endsWith("json") ? parsed(answer) : answer.text();
  }

  /** Give a job up. */
  cancel(id) {
    return this._json(`/v1/jobs/${encodeURIComponent(id)}/cancel`, { method: "POST" });
  }

  /** Delete a job, and its result and audio unless another job needs them. */
  async remove(id) {
    await this._answer(`/v1/jobs/${encodeURIComponent(id)}`, { method: "DELETE" });
  }

  /** One page of the caller's jobs, newest first: `{jobs, cursor}`. */
  jobs({ status, limit, cursor, signal } = {}) {
    return this._json(`/v1/jobs${query({ status, limit, cursor })}`, { signal });
  }

  /** The models that live workers serve. */
  async models() {
    return (await this._json("/v1/models")).data;
  }

  /** The languages that Whisper knows, as `{code, name}`. */
  async languages() {
    return (await this._json("/v1/languages")).languages;
  }

  /** Jobs by state, queue, workers, cache. */
  stats({ signal } = {}) {
    return this._json("/stats", { signal });
  }

  async _json(path, init, send) {
    return parsed(await this._answer(path, init, send));
  }

  async _answer(path, init = {}, send) {
    const patience = new Patience(this.patience);
    for (;;) {
      try {
        return await this._once(path, init, send);
      } catch (error) {
        await this._rest(error, patience, init.signal);
      }
    }
  }

  /** One try. ApiError, or what `fetch` throws. */
  async _once(path, init, send = this._fetch) {
    const key = this.key ? { Authorization: `Bearer ${this.key}` } : {};
    const answer = await send(this.url + path, { ...init, headers: { ...init.headers, ...key } });
    if (answer.ok) return answer;
    const said = await answer.json().catch(() => ({}));
    // OpenAI's shape, on its routes.
    const problem = said.error?.message ? { ...said.error, detail: said.error.message } : said;
    const seconds = Number.parseFloat(answer.headers.get("retry-after"));
    const retryAfter = Number.isFinite(seconds) ? seconds : null;
    throw new ApiError(problem, answer.status, { retryAfter, requestId: answer.headers.get("x-request-id") });
  }

  /** Rest before another try; throw what can't be mended by waiting. */
  async _rest(error, patience, signal) {
    if (signal?.aborted || (error instanceof ApiError && !BUSY.has(error.status))) throw error;
    const away = error instanceof MurmurError ? error : new Unreachable(`no answer from the platform: ${error.message}`);
    const rest = patience.pauseAfter(away);
    this.onRetry?.(rest, away);
    await sleep(rest, signal);
  }

  /** `fetch` for uploads whose progress is watched, which browsers tell by XMLHttpRequest only. */
  _upload(onProgress) {
    return (url, { method, headers, body, signal }) =>
      new Promise((resolve, reject) => {
        // A request that is aborted before it is sent says nothing, and is sent.
        if (signal?.aborted) {
          reject(signal.reason);
          return;
        }
        const request = new XMLHttpRequest();
        request.open(method, url);
        for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
        request.upload.onprogress = (event) => onProgress(event.loaded, event.total);
        request.onload = () => {
          const known = Object.fromEntries(
            ["retry-after", "x-request-id"].map((name) => [name, request.getResponseHeader(name) ?? ""]),
          );
          resolve(new Response(request.responseText, { status: request.status, headers: known }));
        };
        request.onerror = () => reject(new TypeError("the connection broke"));
        request.onabort = () => reject(new DOMException("Canceled.", "AbortError"));
        signal?.addEventListener("abort", () => request.abort(), { once: true });
        request.send(body);
      });
  }
}

/** One request's, or one stream's, as long as it gets nowhere: from its first failure on, without tries that last long. */
class Patience {
  constructor(seconds) {
    this.seconds = seconds;
    this.renew();
  }

  /** There was an answer: begin anew. */
  renew() {
    Object.assign(this, { deadline: null, resumed: 0, pause: FIRST_PAUSE_S });
  }

  /** Seconds to rest before another try; throws the error when patience has run out. */
  pauseAfter(error) {
    const failed = now();
    const lasted = failed - this.resumed;
    if (this.deadline === null) this.deadline = failed + this.seconds;
    else if (lasted > LONGEST_PAUSE_S) this.deadline += lasted;
    // Not all at the same moment, when a platform comes back.
    const rest = error.retryAfter ?? this.pause * (0.75 + Math.random() / 2);
    if (failed + rest >= this.deadline) throw error;
    this.resumed = failed + rest;
    this.pause = Math.min(2 * this.pause, LONGEST_PAUSE_S);
    return rest;
  }
}

/**
 * Whether a webhook's message is genuine, after Standard Webhooks 1.0.
 *
 * @param {string} body The body as it came, unparsed.
 * @param {Headers | Record<string, string>} headers The request's.
 * @param {string} secret `whsec_…`
 */
export async function verifyWebhook(body, headers, secret) {
  const read = (name) => (headers.get ? headers.get(name) : headers[name]) ?? "";
  const [id, sentAt] = [read("webhook-id"), read("webhook-timestamp")];
  if (!(Math.abs(Date.now() / 1000 - Number(sentAt)) < WEBHOOK_TOLERANCE_S)) return false;
  const { subtle } = globalThis.crypto ?? (await import("node:crypto")).webcrypto;
  const raw = bytes(secret.replace(/^whsec_/, ""));
  const key = await subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
  const signed = new TextEncoder().encode(`${id}.${sentAt}.${body}`);
  for (const one of read("webhook-signature").split(" ")) {
    if (one.startsWith("v1,") && (await subtle.verify("HMAC", key, bytes(one.slice(3)), signed))) return true;
  }
  return false;
}

/** An answer's JSON. ApiError: it is none, but a login page in between or another server's. */
async function parsed(answer) {
  const text = await answer.text();
  try {
    return JSON.parse(text);
  } catch {
    const detail = `the answer isn't a platform's (${answer.headers.get("content-type") ?? "no content type"})`;
    throw new ApiError({ code: "unexpected_answer", detail }, answer.status);
  }
}

async function* parse(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let held = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      held += decoder.decode(value, { stream: true });
      for (let end; (end = held.indexOf("\n\n")) >= 0; held = held.slice(end + 2)) {
        const fields = Object.fromEntries(
          held.slice(0, end).split("\n").map((line) => /^([^:]*):? ?(.*)$/s.exec(line).slice(1)),
        );
        if (fields.data) yield { id: fields.id, type: fields.event, data: JSON.parse(fields.data) };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function query(fields) {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

function asText(value) {
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function bytes(base64) {
  try {
    return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  } catch {
    return new Uint8Array();
  }
}

/** randomUUID is there in secure contexts only, and a platform on an intranet may be reached by plain http. */
function uuid() {
  return Array.from(globalThis.crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}

function now() {
  return performance.now() / 1000;
}

function sleep(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}
