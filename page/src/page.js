// SPDX-License-Identifier: GPL-2.0-or-later
// The page: one VM, the profiles ticked for it, and what the service makes of them.

import desktop from "../samples/desktop.xml";
import server from "../samples/server.xml";
import sketch from "../samples/sketch.xml";

import { Problem, ask, keepToken, takeToken } from "./asking.js";
import { Catalogue } from "./catalogue.js";
import { agreed, lacks, showChosen, summed } from "./common.js";
import { DiffView } from "./diffview.js";
import { byId, counted, el, fill } from "./dom.js";
import { helped, sides } from "./fixes.js";
import { withoutRecord } from "./lines.js";
import { showProblem, showResult } from "./outcome.js";
import { SKELETON, carried, fragmentOf, showLint, showTested, wishesOf } from "./writing.js";

const SAMPLES = { server, desktop, sketch };
const OPTIONS = ["override", "complete", "auto"];

const vm = byId("vm");
const catalogue = new Catalogue(() => showChosen(catalogue));
const difference = new DiffView(byId("difference"));
let shown = null; // { before, result } of the last answer
let asked = 0;
let host = null; // { name, digest } where the VM is one of the service's libvirt
let mayDefine = false;
let writing = false; // is a profile written, or are some chosen?

const form = {
  isTicked: (name) => catalogue.isTicked(name),
  knows: (name) => Boolean(catalogue.find(name)),
  prioritise(name, priority) {
    catalogue.prioritise(name, priority);
    apply();
  },
  drop(name) {
    catalogue.drop(name);
    apply();
  },
};

async function load() {
  try {
    const { profiles, groups, vms } = await ask("/v1/profiles");
    byId("entry").hidden = true;
    byId("ask").hidden = false;
    catalogue.list(profiles, groups);
    say(`${counted(profiles.length, "profile")} loaded`);
    if (vms) await listVms();
  } catch (problem) {
    refused(problem);
  }
}

/** The VMs of the libvirt that the service was started for, with what is on them. */
async function listVms() {
  const { uri, define, vms } = await ask("/v1/vms");
  mayDefine = define;
  byId("host").hidden = false;
  byId("about").textContent = define
    ? `Profiles on the VMs of ${uri}, or on the XML of any other.`
    : `Profiles on the VMs of ${uri}, to look at, or on the XML of any other.`;
  const words = (one) => {
    const names = one.profiles.filter((each) => each.state === "applied").map((each) => each.name);
    const marks = [
      one.active ? "running" : "",
      names.length ? `with ${names.join(", ")}` : "",
      one.profiles.some((each) => each.drift) ? "changed by hand" : "",
      one.profiles.some((each) => each.newer) ? "newer versions" : "",
      one.problem ? "its list of profiles cannot be read" : "",
    ].filter(Boolean);
    return [one.name, ...marks].join(", ");
  };
  const options = vms.map((one) => el("option", { value: one.name }, words(one)));
  fill(byId("host-vm"), el("option", { value: "" }, vms.length ? "Choose one" : "There are none"), options);
  byId("host-vm").value = host?.name ?? "";
}

async function takeVm(name) {
  try {
    const { xml, digest } = await ask(`/v1/vms/${encodeURIComponent(name)}`);
    host = { name, digest };
    byId("sample").value = "";
    vm.value = xml;
    byId("result").hidden = true;
    vmChanged();
  } catch (problem) {
    refused(problem);
  }
}

/** Another text is no VM of the host. */
function noHost() {
  host = null;
  byId("host-vm").value = "";
}

/** What the host's VM is asked for with the words of a request about a text. */
function onHost(body) {
  const { xml, context: known, ...words } = body;
  const more = known?.osinfo ? { osinfo: known.osinfo } : {};
  return { vm: host.name, digest: host.digest, ...words, ...more };
}

async function define() {
  const { body, result } = shown;
  if (!(await agreed(body.vm, result))) return;
  await run("/v1/apply-to-vm", { ...body, define: true, yes: true }, `${body.vm} is defined`);
}

/** A missing token is asked for; anything else is shown where results are. */
function refused(problem, quietly = false) {
  if (!(problem instanceof Problem)) {
    console.error(problem);
    return refused(new Problem(0, { message: `the page failed: ${problem.message}`, hint: "reload it" }), quietly);
  }
  if (problem.status === 401) {
    byId("entry").hidden = false;
    byId("ask").hidden = true; // what was typed stays
    byId("token").focus();
    say("The service wants its token.");
    return;
  }
  shown = null;
  difference.shown = null;
  difference.clear();
  byId("output").hidden = true;
  fill(byId("problem"), showProblem(problem, form));
  fill(byId("notes"));
  if (problem.code === "missing-context") byId("options").open = true; // where it can be given
  const title = { conflict: "These cannot hold together", cycle: "No stable selection" }[problem.code];
  const number = problem.conflicts.length;
  arrive(title || "That did not work", number ? `${counted(number, "conflict")}.` : "", problem.message, quietly);
}

/** The result's heading gets the focus, so that readers and keyboards go on from there. */
function arrive(title, summary, more = "", quietly = false) {
  byId("result").hidden = false;
  byId("result-title").textContent = title;
  byId("summary").textContent = summary;
  if (quietly) return; // somebody types
  say(`${title}. ${summary || more}`);
  byId("result-title").focus({ preventScroll: true });
  byId("result").scrollIntoView({ block: "start" });
}

function say(text) {
  byId("said").textContent = text;
}

async function run(path, body, title, quietly = false) {
  const mine = ++asked;
  byId("result").setAttribute("aria-busy", "true");
  try {
    const result = await ask(path, body);
    if (mine !== asked) return; // a later question was asked since
    shown = { before: result.before ?? body.xml, result, body };
    byId("define").hidden = !(body.vm && mayDefine && !result.defined && result.before !== result.xml);
    if (result.defined) {
      host.digest = result.digest;
      vm.value = result.xml;
      vmChanged();
      listVms().catch(refused);
    }
    fill(byId("problem"));
    fill(byId("notes"), showResult(result, form));
    byId("output").hidden = false;
    drawDifference();
    arrive(title, summed(result), "", quietly);
  } catch (problem) {
    if (!quietly && problem instanceof Problem && problem.conflicts.length) problem.useless = await useless(problem, path, body);
    if (mine === asked) refused(problem, quietly);
  } finally {
    if (mine === asked) byId("result").removeAttribute("aria-busy");
  }
}

/** Ticked profiles that it does not help to leave out: tried, as the engine tries the fixes that it names. */
async function useless(problem, path, body) {
  const found = new Set();
  if (!body.profiles) return found;
  const names = [...new Set(problem.conflicts.flatMap(sides))].filter((name) => catalogue.isTicked(name));
  const tries = names.slice(0, 8).map(async (name) => {
    let left = [];
    try {
      await ask(path, { ...body, profiles: body.profiles.filter((one) => one.name !== name) });
    } catch (other) {
      left = other instanceof Problem ? other.conflicts : [];
    }
    if (problem.conflicts.every((one) => !sides(one).includes(name) || !helped(left, one))) found.add(name);
  });
  await Promise.all(tries);
  return found;
}

function drawDifference() {
  if (!shown) return;
  const whole = byId("with-record").checked;
  const cut = (text) => (whole ? text : withoutRecord(text)).replace(/\r?\n$/, "");
  const { before, result } = shown;
  byId("same").hidden = cut(before) !== cut(result.xml);
  byId("difference").hidden = !byId("same").hidden;
  difference.show(cut(before), cut(result.xml), result.changes, byId("all-lines").checked);
}

async function context() {
  const found = {};
  if (byId("osinfo").value.trim()) found.osinfo = byId("osinfo").value.trim();
  for (const name of ["capabilities", "domcapabilities"]) {
    const files = [...byId(name).files];
    if (files.length) found[name] = await Promise.all(files.map((one) => one.text()));
  }
  return found;
}

/** Is each field as it has to be? If not, it says so where it stays, and no older answer stays beside it. */
function complete() {
  const lacking = lacks(catalogue);
  if (!lacking) return true;
  asked++;
  byId("result").hidden = true;
  byId("result").removeAttribute("aria-busy");
  lacking.field.focus();
  say(lacking.text);
  return false;
}

async function apply() {
  if (!vm.value.trim()) {
    vm.focus();
    say("Paste the XML of a VM first, choose a file, or take a sample.");
    return;
  }
  if (!complete()) return;
  const body = await request();
  if (host && !writing) await run("/v1/apply-to-vm", onHost(body), "The result");
  else await run("/v1/apply", body, "The result");
}

/** What the form asks for: the ticked profiles, and those that are written. */
async function request() {
  const body = { xml: vm.value, profiles: catalogue.chosen() };
  if (writing) {
    body.inline = [byId("profile").value];
    body.profiles.push(...wishesOf(byId("profile").value, byId("write-params").value));
  }
  for (const name of OPTIONS) {
    if (byId(name).checked) body[name] = true;
  }
  if (!byId("record").checked) body.record = false;
  const known = await context();
  if (Object.keys(known).length) body.context = known;
  return body;
}

// --- writing a profile ---------------------------------------------------------------------------

function showTab(write) {
  writing = write;
  byId("write").hidden = !write;
  byId("choose").hidden = write;
  byId("columns").classList.toggle("writing", write);
  for (const [id, on] of [["tab-write", write], ["tab-choose", !write]]) {
    byId(id).setAttribute("aria-selected", String(on));
    byId(id).tabIndex = on ? 0 : -1;
  }
  if (!write) return;
  if (!byId("profile").value) byId("profile").value = SKELETON;
  if (!vm.value.trim()) {
    take(SAMPLES.server);
    byId("sample").value = "server";
  }
  written();
}

let typed = 0;
let tests = 0;
/** Lint and the difference, as one types: a moment after the last key, and only the newest answer counts. */
function written() {
  byId("write-link").hidden = true;
  tests++;
  delete byId("tested").dataset.done;
  clearTimeout(typed);
  typed = setTimeout(looked, 40);
}

async function looked() {
  const text = byId("profile").value;
  const start = performance.now();
  let problems;
  try {
    ({ problems } = await ask("/v1/lint", { profile: text }));
  } catch (problem) {
    return refused(problem, true);
  }
  if (text !== byId("profile").value || !writing) return; // more was typed
  showLint(problems, byId("profile"));
  const wrong = problems.some((one) => one.level === "error");
  if (wrong) {
    asked++;
    byId("result").hidden = true; // the difference was that of another text
  } else await run("/v1/apply", await request(), "The difference", true);
  byId("write").dataset.took = String(Math.round(performance.now() - start));
  await tested(wrong);
}

/** The tests of what is written; without a document of them it is repeated and taken back, where it can be applied. */
async function tested(wrong) {
  const mine = tests;
  const given = byId("tests").value;
  byId("tested-title").hidden = wrong || !(given.trim() || shown);
  if (byId("tested-title").hidden) {
    byId("tested-sum").textContent = "";
    fill(byId("tested"));
  } else {
    try {
      const { record, ...body } = await request();
      if (given.trim()) Object.assign(body, { tests: given, files: await files() });
      const answer = await ask("/v1/test", body);
      if (mine !== tests) return; // more was typed
      showTested(answer, byId("profile"), byId("tests"), body.profiles.length);
    } catch (problem) {
      if (mine !== tests) return;
      if (!(problem instanceof Problem) || problem.status === 401) return refused(problem, true);
      byId("tested-sum").textContent = "";
      fill(byId("tested"), el("li", { class: "error" }, problem.message, problem.hint ? ` (${problem.hint})` : ""));
    }
  }
  byId("tested").dataset.done = "yes";
}

/** The files of the form by name, for tests. */
async function files() {
  const found = ["capabilities", "domcapabilities"].flatMap((name) => [...byId(name).files]);
  return Object.fromEntries(await Promise.all(found.map(async (one) => [one.name, await one.text()])));
}

async function makeLink() {
  byId("write-link").href = location.pathname + (await fragmentOf(byId("profile").value, vm.value, byId("tests").value));
  byId("write-link").hidden = false;
  byId("write-link").focus();
}

/** What a link brings along. */
async function takeWriting() {
  const found = await carried();
  if (!found) return;
  history.replaceState(null, "", location.pathname + location.search);
  if (found.broken) return refused(new Problem(0, { message: "the link is not whole", hint: "copy all of it" }));
  byId("profile").value = found.profile;
  byId("tests").value = found.tests;
  byId("tests-given").open = Boolean(found.tests);
  take(found.vm);
  byId("sample").value = "";
  showTab(true);
}

/** What a VM that has been here before brings along. */
async function standing() {
  const xml = vm.value;
  const place = byId("standing");
  if (!xml.includes("/schemas/virtuned/")) {
    place.hidden = true;
    return;
  }
  let profiles;
  try {
    ({ profiles } = await ask("/v1/status", { xml }));
  } catch (problem) {
    place.hidden = true; // the text is half typed, or no domain: "Apply" tells
    return;
  }
  if (vm.value !== xml) return;
  place.hidden = profiles.length === 0;
  const back = (names, text, label) => {
    const press = () =>
      host
        ? run("/v1/apply-to-vm", { vm: host.name, digest: host.digest, unapply: names }, "Without it")
        : run("/v1/unapply", { xml: vm.value, profiles: names }, "Taken back");
    return el("button", { type: "button", "aria-label": label, on: { click: press } }, text);
  };
  const items = profiles.map((one) =>
    el(
      "li",
      {},
      el("span", {}, el("b", {}, one.name), ` ${one.version ?? ""} `, standingWords(one)),
      back([one.name], "Take back", `Take back ${one.name}`),
    ),
  );
  fill(byId("standing-list"), items);
  fill(byId("standing-all"), profiles.length > 1 ? back("all", "Take all back") : null);
}

function standingWords(one) {
  const words = { listed: "not applied yet", withdrawn: "off the list, still applied", excluded: "kept out" };
  const newer = one.newest && one.version && one.newest !== one.version ? `${one.newest} is newer` : "";
  const drift = one.drift.length ? `${one.drift.length} changed by hand` : "";
  const effect = one.effect === "none" ? "changes nothing on this VM" : "";
  return [words[one.state] ?? one.state, effect, newer, drift].filter(Boolean).join(", ");
}

let waiting = 0;
function vmChanged() {
  clearTimeout(waiting);
  waiting = setTimeout(standing, 400);
}

function take(xml) {
  noHost();
  vm.value = xml;
  vmChanged();
  if (writing) written();
}

async function copy() {
  try {
    await navigator.clipboard.writeText(shown.result.xml);
    say("Copied.");
    byId("copy").textContent = "Copied";
    setTimeout(() => (byId("copy").textContent = "Copy"), 2000);
  } catch {
    say("The browser does not let the page copy; download it instead.");
  }
}

function download() {
  const name = /<name>([^<]+)<\/name>/.exec(shown.result.xml)?.[1].replace(/[^\w.-]+/g, "_") || "domain";
  const url = URL.createObjectURL(new Blob([shown.result.xml], { type: "application/xml" }));
  el("a", { href: url, download: `${name}.xml` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  apply();
});
byId("ask").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.ctrlKey) {
    event.preventDefault();
    apply();
  }
});
byId("entry").addEventListener("submit", (event) => {
  event.preventDefault();
  keepToken(byId("token").value.trim());
  byId("token").value = "";
  load();
});
byId("sample").addEventListener("change", (event) => {
  if (event.target.value) take(SAMPLES[event.target.value]);
});
byId("file").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  if (file) take(await file.text());
  byId("sample").value = "";
});
vm.addEventListener("input", () => {
  noHost();
  vmChanged();
  if (writing) written();
});
byId("tab-choose").addEventListener("click", () => showTab(false));
byId("tab-write").addEventListener("click", () => showTab(true));
for (const id of ["tab-choose", "tab-write"]) {
  byId(id).addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = id === "tab-write" ? "tab-choose" : "tab-write";
    showTab(other === "tab-write");
    byId(other).focus();
  });
}
byId("profile").addEventListener("input", written);
byId("write-params").addEventListener("input", written);
byId("tests").addEventListener("input", written);
byId("make-link").addEventListener("click", makeLink);
byId("host-vm").addEventListener("change", (event) => {
  if (event.target.value) takeVm(event.target.value);
});
byId("define").addEventListener("click", define);
byId("all-lines").addEventListener("change", drawDifference);
byId("with-record").addEventListener("change", drawDifference);
byId("copy").addEventListener("click", copy);
byId("download").addEventListener("click", download);
byId("next").addEventListener("click", () => {
  take(shown.result.xml);
  byId("sample").value = "";
  vm.focus();
});

/** What the address brings: both read it before either changes it. */
async function arrived() {
  const writing = takeWriting();
  const token = takeToken();
  await writing;
  return token;
}

window.addEventListener("hashchange", async () => {
  if (await arrived()) load();
});

showChosen(catalogue);
arrived().then(load);
