// SPDX-License-Identifier: GPL-2.0-or-later
import assert from "node:assert/strict";
import { test } from "node:test";

import { bookkeeping, filled, scan, slid, withoutRecord } from "../src/lines.js";

const short = (text) => scan(text).map((one) => [one.name, one.first, one.opened, one.last]);

test("lines of elements and attributes", () => {
  const text = `<?xml version='1.0'?>\n<!-- <no/> -->\n<a>\n  <b x='1'\n     y="a>b"/>\n  <c><![CDATA[<no>]]></c>\n</a>\n`;
  assert.deepEqual(short(text), [["a", 3, 3, 7], ["b", 4, 5, 5], ["c", 6, 6, 6]]);
  const [, b] = scan(text);
  assert.deepEqual([...b.attributes], [["x", 4], ["y", 5]]);
  assert.equal(text.slice(b.from, b.to), `<b x='1'\n     y="a>b"/>`);
});

test("names with prefixes, spaces in tags, carriage returns", () => {
  assert.deepEqual(short("<p:a >\r\n<b /></p:a\n>"), [["p:a", 1, 1, 3], ["b", 2, 2, 2]]);
  assert.deepEqual(short("<a><b/></a>"), [["a", 1, 1, 1], ["b", 1, 1, 1]]);
});

test("what is no document ends all the same", () => {
  for (const text of ["", "<", "<a", "</a>", "<a x='", "<!-- ", "<![CDATA[", "<?a", "a<b c d>"]) scan(text);
});

test("an end tag has the label of what is inside", () => {
  const text = "<a>\n<b>\n<c/>\n</b>\n<d/>\n</a>";
  const change = { path: "/a/b/c" };
  const labels = filled([2, 3, 4, 5], new Map([[3, [change]]]), scan(text));
  assert.deepEqual([...labels.keys()].sort(), [2, 3, 4]);
  assert.equal(labels.get(4)[0], change);
});

const RECORDED = `<domain>
  <metadata>
    <v:virtuned xmlns:v='http://virt-manager.org/schemas/virtuned/0.1'/>
    <vr:record xmlns:vr='http://virt-manager.org/schemas/virtuned/record/0.1' made='list'>
      <vr:profile name='record'/>
    </vr:record>
  </metadata>
</domain>`;

test("the record is left out, with its lines", () => {
  const [head, foot] = [RECORDED.split("\n").slice(0, 3), RECORDED.split("\n").slice(6)];
  assert.equal(withoutRecord(RECORDED), [...head, ...foot].join("\n"));
  const other = "<domain><metadata><x:record xmlns:x='urn:x'/></metadata></domain>";
  assert.equal(withoutRecord(other), other);
});

test("bookkeeping is known by line", () => {
  const found = bookkeeping(scan(RECORDED));
  assert.deepEqual([...found].sort(), [[2, "list"], [3, "list"], [4, "record"], [5, "record"], [6, "record"], [7, "list"]]);
});

class Change {
  constructor(fromA, toA, fromB, toB) {
    Object.assign(this, { fromA, toA, fromB, toB });
  }
}

test("what was put in begins where a reader sees it begin", () => {
  const put = (before, after, from) => {
    const length = after.length - before.length;
    const [moved] = slid([new Change(from, from, from, from + length)], before, after);
    assert.equal(after.slice(0, moved.fromB) + after.slice(moved.toB), before);
    return after.slice(moved.fromB, moved.toB);
  };
  assert.equal(put("<d type='raw'/>", "<d type='raw' cache='none'/>", 12), " cache='none'");
  assert.equal(put("<a/>\n<b/>", "<a/>\n<rng/>\n<b/>", 6), "<rng/>\n");
  assert.equal(put("xx", "xxx", 1), "x");
});

test("what was taken out, too, and a replacement stays", () => {
  const before = "<d type='raw' cache='none'/>";
  const [moved] = slid([new Change(12, 25, 12, 12)], before, "<d type='raw'/>");
  assert.equal(before.slice(moved.fromA, moved.toA), " cache='none'");
  const replaced = new Change(1, 2, 1, 3);
  assert.equal(slid([replaced], "abc", "axyc")[0], replaced);
});
