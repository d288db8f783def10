import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { mutations } from "./mutations.js";
import { projectFile } from "./project.js";

const test = suite("mutations");

test("each fault can be planted: its text stands in its file exactly once", () => {
  for (const { name, file, text } of mutations)
    assert.is(readFileSync(projectFile(file), "utf8").split(text).length - 1, 1, `${name}: ${file}`);
});

test.run();
