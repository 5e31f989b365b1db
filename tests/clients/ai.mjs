// Vercel's `ai` with its provider for OpenAI: `node ai.mjs URL FILE`.
import { readFile } from "node:fs/promises";
import { createOpenAI } from "@ai-sdk/openai";
import { experimental_transcribe as transcribe } from "ai";

const [url, file] = process.argv.slice(2);
const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: "unused" });
const { text, segments, language, durationInSeconds } = await transcribe({
  model: openai.transcription("whisper-1"),
  audio: await readFile(file),
  providerOptions: { openai: { language: "en", timestampGranularities: ["segment"] } },
});
console.log(JSON.stringify({ text, segments: segments.length, language, seconds: durationInSeconds }));
