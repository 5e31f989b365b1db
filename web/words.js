/** Figures, states and errors in words for people. */

import { ApiError, JobEnded, Unreachable } from "./murmur.js";

const STATES = {
  queued: "Waiting",
  processing: "Transcribing",
  completed: "Done",
  failed: "Failed",
  canceled: "Canceled",
  expired: "Expired",
};

/** What to do about an error, by its code. What the platform said itself (sizes, limits) stands before it. */
const ADVICE = {
  unauthorized: "Enter an API key with the button at the top of the page.",
  forbidden: "Ask whoever runs this platform for a key that may do this.",
  too_large: "Send a smaller file: audio alone instead of video, or a compressed format such as mp3 or opus.",
  too_long: "Cut the recording into parts.",
  unsupported_media: "Choose an audio or video file: mp3, wav, m4a, flac, ogg, webm, mp4, mov, mkv …",
  no_audio_stream: "Choose a video with sound, or an audio file.",
  no_samples: "Check that the recording plays on your device.",
  corrupt_audio: "Check that the recording plays on your device, or convert it and try again.",
  index_missing: "Copy the recording once more, whole. Where it was broken off, tools that repair MP4 files may help.",
  empty_file: "The file holds nothing. Check that it was recorded or copied to the end.",
  rate_limited: "Wait a little and try again.",
  quota_exceeded: "Wait until some of your jobs are done, or ask for a higher limit.",
  queue_full: "Many recordings are waiting. Try again later.",
  memory_pressure: "The platform's machine is short of memory. Try again in a minute.",
  disk_full: "The platform's disk is full. Tell whoever runs it.",
  ledger_unavailable: "The platform's database doesn't answer. Try again in a minute.",
  storage_unavailable: "The platform's storage doesn't answer. Try again in a minute.",
  model_not_served: "Choose a model from the list.",
  model_unavailable: "No worker serves a model yet. Try again in a minute.",
  job_not_found: "It may have been deleted, or belong to another key.",
  job_expired: "Transcripts are kept for a limited time. Send the recording again.",
  worker_lost: "The machine that transcribed it failed several times. Try again.",
  engine_failed: "Try again; if it fails once more, tell whoever runs this platform.",
};

/** One or two sentences: what happened, and what to do. */
export function explain(error) {
  if (error?.name === "AbortError") return "Canceled.";
  if (error instanceof Unreachable) return "The platform can't be reached. Check your connection, and that it runs.";
  const failure = error instanceof JobEnded ? error.job.error ?? { message: error.message } : error;
  const said = sentence(failure.message || "Something went wrong");
  const advice = ADVICE[failure.code] ?? (error instanceof ApiError && error.status >= 500 ? "Try again in a minute." : "");
  return advice ? `${said} ${advice}` : said;
}

export function state(job) {
  return STATES[job.status] ?? job.status;
}

/** Where a waiting job stands. */
export function place(queue) {
  if (!queue) return "Waiting for a worker";
  if (queue.waits_for) return `Waiting for a worker with ${queue.waits_for}; none is there now`;
  const eta = typeof queue.eta_s === "number" ? `, starts in about ${duration(Math.max(1, queue.eta_s))} at most` : "";
  return queue.position <= 1 ? `Next in the queue${eta}` : `Number ${queue.position} in the queue${eta}`;
}

/** 75 is `1:15`, 3675 is `1:01:15`. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** 75 is `1 min 15 s`. */
export function duration(seconds) {
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

export function size(bytes) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  for (; bytes >= 1000 && unit < units.length - 1; unit += 1) bytes /= 1000;
  return `${bytes >= 100 || unit === 0 ? Math.round(bytes) : bytes.toFixed(1)} ${units[unit]}`;
}

/** `2026-11-26T09:00:00Z` as this reader's day and time. */
export function when(time) {
  const date = new Date(time);
  const today = date.toDateString() === new Date().toDateString();
  return date.toLocaleString([], today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" });
}

/** With a capital at its beginning and a full stop at its end. */
function sentence(text) {
  const said = text.trim();
  return said.charAt(0).toUpperCase() + said.slice(1) + (/[.!?…]$/.test(said) ? "" : ".");
}
