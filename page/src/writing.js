// SPDX-License-Identifier: GPL-2.0-or-later
// The tab in which a profile is written: its text beside the VM's, what lint says of it as one types, and
// a link that carries both in its fragment, which no server sees.

import { byId, el, fill } from "./dom.js";

/** What a new profile looks like. */
export const SKELETON = `<profile name='mine' version='1'>
  <title>What it is for</title>
  <add>
    <devices>
      <watchdog model='itco' action='reset'/>
    </devices>
  </add>
</profile>
`;
const WORD = "write";

const NAMED = (element) => new RegExp(`<${element}\\s(?:[^>]*\\s)?name\\s*=\\s*(?:"([^"]*)"|'([^']*)')`, "g");
const names = (element, text) => [...text.matchAll(NAMED(element))].map((found) => ({ name: found[1] ?? found[2], at: found.index }));

/**
 * The profiles of a document, by name and with the values of params that the author gives. Lint has read the
 * document: it is known to be one.
 *
 * @param {string} text
 * @param {string} params "NAME=VALUE, NAME=VALUE"
 * @returns {{name: string, params?: Object}[]}
 */
export function wishesOf(text, params = "") {
  const plain = text.replace(/<!--[^]*?-->/g, "");
  const profiles = names("profile", plain);
  const given = params.split(",").map((one) => one.split("=")).filter(([name, value]) => name.trim() && value !== undefined);
  return profiles.map(({ name, at }, place) => {
    const declared = new Set(names("param", plain.slice(at, profiles[place + 1]?.at)).map((one) => one.name));
    const mine = given.filter(([each]) => declared.has(each.trim())).map(([each, ...rest]) => [each.trim(), rest.join("=").trim()]);
    return mine.length ? { name, params: Object.fromEntries(mine) } : { name };
  });
}

/** What lint found, each line a button that leads to its place in the text. */
export function showLint(problems, field) {
  const lines = problems.map((one) => {
    const press = () => {
      const before = field.value.split("\n").slice(0, one.line - 1).join("\n").length;
      const start = one.line > 1 ? before + 1 : 0;
      const end = field.value.indexOf("\n", start);
      field.focus();
      field.setSelectionRange(start, end < 0 ? field.value.length : end);
    };
    const place = el("button", { type: "button", class: "link", on: { click: press } }, `line ${one.line}`);
    return el("li", { class: one.level }, place, ` ${one.level}: ${one.message}`, one.hint ? el("span", { class: "quiet" }, ` (${one.hint})`) : null);
  });
  fill(byId("lint"), lines.length ? lines : el("li", { class: "quiet" }, "Nothing to complain about."));
}

async function through(stream, bytes) {
  const writer = stream.writable.getWriter();
  // what is wrong with the bytes is said by the reader
  writer.write(bytes).catch(() => {});
  writer.close().catch(() => {});
  return new Uint8Array(await new Response(stream.readable).arrayBuffer());
}

/** A fragment that carries a profile and a VM; passwords of the VM are not in it. */
export async function fragmentOf(profile, vm) {
  const shown = vm.replace(/(\spasswd=)(?:"[^"]*"|'[^']*')/g, "$1'***'");
  const packed = await through(new CompressionStream("deflate-raw"), new TextEncoder().encode(JSON.stringify([profile, shown])));
  const text = btoa(Array.from(packed, (one) => String.fromCharCode(one)).join(""));
  return `#${WORD}=${text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
}

/** What the fragment of the address carries, as `fragmentOf` made it; null where there is none. */
export async function carried() {
  const text = new URLSearchParams(location.hash.slice(1)).get(WORD);
  if (text === null) return null;
  try {
    const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
    const [profile, vm] = JSON.parse(new TextDecoder().decode(await through(new DecompressionStream("deflate-raw"), bytes)));
    return { profile: String(profile), vm: String(vm) };
  } catch {
    return { broken: true };
  }
}
