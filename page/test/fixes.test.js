// SPDX-License-Identifier: GPL-2.0-or-later
import assert from "node:assert/strict";
import { test } from "node:test";

import { readFix, sides } from "../src/fixes.js";

test("a fix as the engine words it", () => {
  assert.deepEqual(readFix("--profile my.app-1+x,priority=-12"), { name: "my.app-1+x", priority: -12 });
  for (const other of ["<virtuned:guest priority='3'>", "--profile a,priority=", "--profile a b,priority=1", ""]) {
    assert.equal(readFix(other), null);
  }
});

test("the sides of a conflict, each once, the definition aside", () => {
  const values = [{ origin: "definition" }, { origin: { profile: "b" } }, { origin: { profile: "a" } }, { origin: { profile: "b" } }];
  assert.deepEqual(sides({ values }), ["a", "b"]);
});
