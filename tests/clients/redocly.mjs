// Redocly's recommended rules on documents: `node redocly.mjs FILE…` prints a line for each problem.
import { readFileSync } from "node:fs";
import redocly from "@redocly/openapi-core";

const config = await redocly.createConfig({ extends: ["recommended"] });
for (const file of process.argv.slice(2)) {
  const source = readFileSync(file, "utf8");
  const problems = await redocly.lintFromString({ source, absoluteRef: "openapi.json", config });
  for (const { severity, ruleId, message, location } of problems)
    console.log(file, severity, ruleId, message, location[0].pointer);
}
