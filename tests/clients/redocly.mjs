// Redocly's recommended rules on a document: `node redocly.mjs FILE` prints a line for each problem.
import { readFileSync } from "node:fs";
import redocly from "@redocly/openapi-core";

const config = await redocly.createConfig({ extends: ["recommended"] });
const source = readFileSync(process.argv[2], "utf8");
const problems = await redocly.lintFromString({ source, absoluteRef: "openapi.json", config });
for (const { severity, ruleId, message, location } of problems) console.log(severity, ruleId, message, location[0].pointer);
