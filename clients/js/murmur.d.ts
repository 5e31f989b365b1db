export type Status = "queued" | "processing" | "completed" | "failed" | "canceled" | "expired";
export type Format = "json" | "verbose_json" | "text" | "srt" | "vtt" | "tsv";

export interface Options {
  model?: string | null;
  language?: string | null;
  task?: "transcribe" | "translate" | null;
  prompt?: string | null;
  hotwords?: string | null;
  temperature?: number | null;
  beam_size?: number | null;
  vad_filter?: boolean | null;
  word_timestamps?: boolean | null;
  condition_on_previous_text?: boolean | null;
  normalize?: boolean | null;
  fast_short?: boolean | null;
  audio_track?: string | number | null;
  diarize?: boolean | null;
  num_speakers?: number | null;
  min_speakers?: number | null;
  max_speakers?: number | null;
  /** Names with samples of the voices as data URLs; a job lists the names alone. */
  known_speakers?: Record<string, string> | string[] | null;
  languages?: string[] | string | null;
  multilingual?: boolean | null;
  channels?: "mix" | "split" | null;
  channel_names?: string[] | string | null;
  priority?: "interactive" | "batch" | null;
  webhook_url?: string | null;
  ttl_s?: number | null;
  response_format?: Format | null;
  [option: string]: unknown;
}

export interface Job {
  id: string;
  status: Status;
  created_at: string;
  started_at: string | null;
  completed_at: string | null;
  expires_at: string | null;
  progress: { fraction: number; audio_seconds_done: number; audio_seconds_total: number };
  queue?: { position: number; audio_seconds_ahead: number | null; eta_s: number | null; waits_for: string | null };
  model: string;
  language: string | null;
  options: Options;
  audio: { sha256: string; bytes: number; duration_s: number; filename: string };
  cached: boolean;
  attempts: number;
  compute_s: number | null;
  error: { code: string; message: string; retryable: boolean } | null;
  urls: { self: string; result: string; events: string; cancel: string };
}

export interface Word {
  word: string;
  start: number;
  end: number;
  probability: number;
  speaker?: string;
}

export interface Segment {
  id: number;
  start: number;
  end: number;
  text: string;
  avg_logprob: number;
  compression_ratio: number;
  no_speech_prob: number;
  doubtful: boolean;
  words?: Word[];
  speaker?: string;
  language?: string;
  channel?: number;
  channel_name?: string;
}

export interface Transcript {
  task: string;
  language: string;
  duration: number;
  model: string;
  text: string;
  segments: Segment[];
  words?: Word[];
}

export interface Plain {
  text: string;
  language: string;
  duration: number;
  model: string;
}

export type JobEvent =
  | { id: string; type: "status"; data: { status: Status } }
  | { id: string; type: "progress"; data: Job["progress"] }
  | { id: string; type: "segment"; data: { span: number; start: number; end: number; text: string; words?: Word[] } }
  | { id: string; type: "warning"; data: Record<string, unknown> }
  | { id: string; type: "done"; data: { status: Status; language: string | null; duration: number } }
  | { id: string; type: "failed"; data: { code: string; message: string; retryable: boolean } };

export interface SubmitHow {
  onProgress?: (sent: number, total: number) => void;
  signal?: AbortSignal;
  filename?: string;
  idempotencyKey?: string;
}

export type Audio = Blob | ArrayBuffer | Uint8Array | URL;

export class MurmurError extends Error {}
export class Unreachable extends MurmurError {}
export class ApiError extends MurmurError {
  readonly code: string;
  readonly status: number;
  readonly retryAfter: number | null;
  readonly requestId: string | null;
  readonly problem: Record<string, unknown>;
}
export class JobEnded extends MurmurError {
  readonly job: Job;
}

export class Murmur {
  constructor(how?: {
    url?: string;
    key?: string;
    patience?: number;
    fetch?: typeof fetch;
    onRetry?: (pause: number, why: MurmurError) => void;
  });
  url: string;
  key: string;
  transcribe(audio: Audio, options?: Options, how?: SubmitHow): Promise<Transcript>;
  transcribe(audio: Audio, options: Options, how: SubmitHow & { format: "json" }): Promise<Plain>;
  transcribe(audio: Audio, options: Options, how: SubmitHow & { format: "text" | "srt" | "vtt" | "tsv" }): Promise<string>;
  submit(audio: Audio, options?: Options, how?: SubmitHow): Promise<Job>;
  job(id: string, how?: { wait?: number; signal?: AbortSignal }): Promise<Job>;
  wait(id: string, how?: { signal?: AbortSignal }): Promise<Job>;
  stream(id: string, how?: { after?: string; signal?: AbortSignal }): AsyncGenerator<JobEvent, void, void>;
  result(id: string, format?: "verbose_json", how?: { partial?: boolean; signal?: AbortSignal }): Promise<Transcript>;
  result(id: string, format: "json", how?: { partial?: boolean; signal?: AbortSignal }): Promise<Plain>;
  result(id: string, format: "text" | "srt" | "vtt" | "tsv", how?: { partial?: boolean; signal?: AbortSignal }): Promise<string>;
  cancel(id: string): Promise<Job>;
  remove(id: string): Promise<void>;
  jobs(how?: { status?: Status; limit?: number; cursor?: string; signal?: AbortSignal }): Promise<{ jobs: Job[]; cursor: string | null }>;
  models(): Promise<Array<{ id: string; default: boolean; alias_of: string | null; workers: number; [fact: string]: unknown }>>;
  languages(): Promise<Array<{ code: string; name: string }>>;
  stats(how?: { signal?: AbortSignal }): Promise<Record<string, any>>;
}

export function verifyWebhook(
  body: string,
  headers: Headers | Record<string, string | undefined>,
  secret: string,
): Promise<boolean>;
