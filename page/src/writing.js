// SPDX-License-Identifier: GPL-2.0-or-later
// The tab in which a profile is written: its text beside the VM's, what lint says of it as one types, how its
// tests end, and a link that carries all of it in its fragment, which no server sees.

import { byId, counted, el, fill } from "./dom.js";

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

/** A button that leads to a line of a text. */
function leadsTo(field, line) {
  const press = () => {
    const before = field.value.split("\n").slice(0, line - 1).join("\n").length;
    const start = line > 1 ? before + 1 : 0;
    const end = field.value.indexOf("\n", start);
    field.closest("details")?.setAttribute("open", "");
    field.focus();
    field.setSelectionRange(start, end < 0 ? field.value.length : end);
  };
  return el("button", { type: "button", class: "link", on: { click: press } }, `line ${line}`);
}

/** What lint found, each line a button that leads to its place in the text. */
export function showLint(problems, field) {
  const lines = problems.map((one) =>
    el(
      "li",
      { class: one.level },
      leadsTo(field, one.line),
      ` ${one.level}: ${one.message}`,
      one.hint ? el("span", { class: "quiet" }, ` (${one.hint})`) : null,
    ),
  );
  fill(byId("lint"), lines.length ? lines : el("li", { class: "quiet" }, "Nothing to complain about."));
}

/**
 * How tests ended.
 *
 * @param {{tests: Object[], uncovered: Object[]}} answer
 * @param {HTMLTextAreaElement} profile the field of the profile, whose uncovered actions have lines in it
 * @param {HTMLTextAreaElement} field the field of the tests; empty where the profiles were only repeated
 * @param {number} number of profiles
 */
export function showTested({ tests, uncovered }, profile, field, number) {
  const failed = tests.filter((one) => one.failures.length).length;
  if (!field.value.trim()) {
    const again = `A second time it changes nothing${number > 1 ? ", in reverse order it is the same" : ""}, and taken back nothing is left of it.`;
    const said = tests.flatMap((one) => one.failures.map((each) => el("li", { class: "error" }, each.message)));
    byId("tested-sum").textContent = failed ? "" : again;
    return fill(byId("tested"), said);
  }
  const lines = tests.flatMap((one) => {
    const title = el("b", {}, one.name || "the tests cannot be read");
    if (!one.failures.length) return [el("li", { class: "passed" }, "passed: ", title)];
    const why = one.failures.map((each) => el("li", {}, leadsTo(field, each.line), ` ${each.message}`));
    return [el("li", { class: "error" }, "failed: ", title, el("ul", {}, why))];
  });
  const here = uncovered.filter((one) => one.file === "inline:0");
  const open = here.map((one) => el("li", { class: "warning" }, leadsTo(profile, one.line), ` no test makes this <${one.action}> effective`));
  byId("tested-sum").textContent = `${counted(tests.length, "test")}: ${tests.length - failed} passed, ${failed} failed.`;
  fill(byId("tested"), lines, open);
}

async function through(stream, bytes) {
  const writer = stream.writable.getWriter();
  // what is wrong with the bytes is said by the reader
  writer.write(bytes).catch(() => {});
  writer.close().catch(() => {});
  return new Uint8Array(await new Response(stream.readable).arrayBuffer());
}

/** A fragment that carries a profile, a VM and perhaps tests; passwords of VMs are not in it. */
export async function fragmentOf(profile, vm, tests = "") {
  const shown = (text) => text.replace(/(\spasswd=)(?:"[^"]*"|'[^']*')/g, "$1'***'");
  const parts = tests ? [profile, shown(vm), shown(tests)] : [profile, shown(vm)];
  const packed = await through(new CompressionStream("deflate-raw"), new TextEncoder().encode(JSON.stringify(parts)));
  const text = btoa(Array.from(packed, (one) => String.fromCharCode(one)).join(""));
  return `#${WORD}=${text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
}

/** What the fragment of the address carries, as `fragmentOf` made it; null where there is none. */
export async function carried() {
  const text = new URLSearchParams(location.hash.slice(1)).get(WORD);
  if (text === null) return null;
  try {
    const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
    const [profile, vm, tests = ""] = JSON.parse(new TextDecoder().decode(await through(new DecompressionStream("deflate-raw"), bytes)));
    return { profile: String(profile), vm: String(vm), tests: String(tests) };
  } catch {
    return { broken: true };
  }
}
