// openai-node: `node openai.mjs URL FILE`.
import { createReadStream } from "node:fs";
import OpenAI, { AzureOpenAI } from "openai";

const [url, file] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "unused", maxRetries: 0 });
const create = (options) =>
  client.audio.transcriptions.create({ file: createReadStream(file), model: "whisper-1", ...options });

const verbose = await create({ response_format: "verbose_json", timestamp_granularities: ["word", "segment"] });
let deltas = "";
for await (const event of await create({ stream: true })) {
  if (event.type === "transcript.text.delta") deltas += event.delta;
}
const azure = new AzureOpenAI({ endpoint: url, apiKey: "unused", apiVersion: "2025-03-01", maxRetries: 0 });
const through = await azure.audio.transcriptions.create({ file: createReadStream(file), model: "whisper-1" });
let refused;
try {
  await create({ language: "xx" });
} catch (error) {
  refused = [error instanceof OpenAI.BadRequestError, error.code];
}
console.log(
  JSON.stringify({
    text: (await create({})).text,
    srt: (await create({ response_format: "srt" })).startsWith("1\n00:00:0"),
    words: verbose.words.map((word) => word.word),
    deltas,
    azure: through.text,
    refused,
    models: (await client.models.list()).data.some((model) => model.id === "whisper-1"),
  }),
);
