/** The platform that this page came from, with the key that was entered. */

import { ApiError, Murmur } from "./murmur.js";
import * as store from "./store.js";

const notice = document.getElementById("connection");
const dialog = document.getElementById("key-dialog");
const field = document.getElementById("key-field");
const keep = document.getElementById("key-keep");

/** Where the platform is, without a slash at the end: it may stand under a path behind a proxy. */
export const base = new URL("..", import.meta.url).href.replace(/\/$/, "");

export const murmur = new Murmur({
  url: base,
  key: sessionStorage.getItem("murmur.key") ?? store.read("key") ?? "",
  patience: 24 * 3600,
  onRetry: (pause, why) => {
    const busy = why instanceof ApiError && why.status !== 502;
    notice.textContent = busy
      ? `The platform is busy: ${why.message}. It is asked again in ${Math.ceil(pause)} s.`
      : `The platform can't be reached. It is asked again in ${Math.ceil(pause)} s; nothing is lost.`;
    notice.hidden = false;
  },
  fetch: async (...request) => {
    const answer = await fetch(...request);
    if (answer.status < 429) notice.hidden = true;
    return answer;
  },
});

/** Ask for a key; `why` says what for. */
export function askForKey(why) {
  if (why) document.getElementById("key-why").textContent = why;
  field.value = murmur.key;
  keep.checked = Boolean(store.read("key"));
  if (!dialog.open) dialog.showModal();
  field.focus();
}

/** Ask for a key where that is what an error is about; whether it was. */
export function wantsKey(error) {
  if (!(error instanceof ApiError) || error.status !== 401) return false;
  askForKey(murmur.key ? "This platform doesn't know the key. Enter another one." : "This platform asks for an API key.");
  return true;
}

export function installKeyDialog(changed) {
  document.getElementById("key-button").addEventListener("click", () => askForKey());
  document.getElementById("key-cancel").addEventListener("click", () => dialog.close());
  document.getElementById("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    murmur.key = field.value.trim();
    sessionStorage.setItem("murmur.key", murmur.key);
    store.write("key", keep.checked && murmur.key ? murmur.key : null);
    dialog.close();
    changed();
  });
}
