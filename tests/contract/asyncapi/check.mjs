// Parses AsyncAPI documents with the parser of the AsyncAPI project; prints what it finds wrong as JSON, by file.

import { readFile } from "node:fs/promises";
import { Parser } from "@asyncapi/parser";

const ERROR_OR_WARNING = 1; // what is less grave recommends, such as the newest version
const found = {};
for (const path of process.argv.slice(2)) {
  const { document, diagnostics } = await new Parser().parse(await readFile(path, "utf8"));
  found[path] = {
    version: document?.version() ?? null,
    channels: document?.channels().all().length ?? 0,
    wrong: diagnostics.filter(({ severity }) => severity <= ERROR_OR_WARNING),
  };
}
console.log(JSON.stringify(found));
