// SPDX-License-Identifier: GPL-2.0-or-later

import assert from "node:assert/strict";
import { test } from "node:test";
import { fragmentOf, wishesOf } from "../src/writing.js";

test("profiles of a document are wished for by name, with the values of their own params", () => {
  assert.deepEqual(wishesOf("<profile version='1' name='a'><add><title>x</title></add></profile>"), [{ name: "a" }]);
  const two = `<profiles><!-- <profile name='none'/> -->
    <profile name="a"><param type='int' name='n'/></profile>
    <profile
      name='b'><param name="m" default='1'/><requires profile='a'/></profile></profiles>`;
  const wanted = [{ name: "a", params: { n: "2" } }, { name: "b", params: { m: "x=y" } }];
  assert.deepEqual(wishesOf(two, "n=2, m=x=y, other=3, =4,"), wanted);
  assert.deepEqual(wishesOf("<domain><name>x</name></domain>"), []);
});

test("a link has no password of the VM", async () => {
  const fragment = await fragmentOf("<profile/>", "<graphics type='vnc' passwd='hushhush'/>");
  const bytes = Uint8Array.from(atob(fragment.slice("#write=".length).replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  assert.deepEqual(JSON.parse(await new Response(stream).text()), ["<profile/>", "<graphics type='vnc' passwd='***'/>"]);
});
