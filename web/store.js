/**
 * What this browser keeps: recordings (IndexedDB), so that they can be played after a reload, edited texts, and choices.
 * Nothing here is needed: where a browser keeps nothing (private windows), the page works for as long as it is open.
 */

const DATABASE = "murmuration";
const KEPT_RECORDINGS = 20;
const LARGEST_BYTES = 500e6;
const memory = new Map();

export async function keepRecording(job, blob) {
  memory.set(job, blob);
  if (blob.size > LARGEST_BYTES) return;
  await using("readwrite", (recordings) => recordings.put({ job, blob, at: Date.now() }));
  const old = (await using("readonly", (recordings) => recordings.index("at").getAllKeys())) ?? [];
  for (const key of old.slice(0, -KEPT_RECORDINGS)) await using("readwrite", (recordings) => recordings.delete(key));
}

export async function recording(job) {
  return memory.get(job) ?? (await using("readonly", (recordings) => recordings.get(job)))?.blob ?? null;
}

export async function forget(job) {
  memory.delete(job);
  write(`edits.${job}`, null);
  await using("readwrite", (recordings) => recordings.delete(job));
}

/** A value that `write` kept; null where there is none. */
export function read(name) {
  try {
    return JSON.parse(localStorage.getItem(`murmur.${name}`));
  } catch {
    return null;
  }
}

export function write(name, value) {
  try {
    if (value === null) localStorage.removeItem(`murmur.${name}`);
    else localStorage.setItem(`murmur.${name}`, JSON.stringify(value));
  } catch {
    // full, or not allowed
  }
}

let opened;

function database() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () =>
      request.result.createObjectStore("recordings", { keyPath: "job" }).createIndex("at", "at");
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

async function using(mode, act) {
  try {
    const transaction = (await database()).transaction("recordings", mode);
    return await new Promise((resolve, reject) => {
      const request = act(transaction.objectStore("recordings"));
      request.onsuccess = () => resolve(request.result);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  } catch {
    return undefined;
  }
}
