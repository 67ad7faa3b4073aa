// SPDX-License-Identifier: GPL-2.0-or-later
import assert from "node:assert/strict";
import { test } from "node:test";

import { helped, readFix, sides, withoutDirectories } from "../src/fixes.js";

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

test("paths of files are shortened, those of domains are not", () => {
  assert.equal(withoutDirectories("acpi 1.0 (/usr/share/p/acpi.xml:11)"), "acpi 1.0 (acpi.xml:11)");
  assert.equal(withoutDirectories("its 'when' at /a/b/q35.xml:15 does not hold"), "its 'when' at q35.xml:15 does not hold");
  assert.equal(withoutDirectories("/etc/x/own.xml"), "own.xml");
  for (const same of ["the guest will see another /domain/cpu/@mode: (x)", "disk[source/@file='/var/a (b).img']", "a.xml:3"]) {
    assert.equal(withoutDirectories(same), same);
  }
});

test("what is left of a conflict says whether a way out helps", () => {
  const conflict = (...names) => ({ path: "", values: names.map((profile) => ({ origin: { profile } })) });
  assert.ok(helped([], conflict("a", "b")));
  assert.ok(helped([conflict("a", "c")], conflict("a", "b")));
  assert.ok(!helped([conflict("b", "a")], conflict("a", "b")));
});
