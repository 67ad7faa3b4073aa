// SPDX-License-Identifier: GPL-2.0-or-later
// The page: one VM, the profiles ticked for it, and what the service makes of them.

import desktop from "../samples/desktop.xml";
import server from "../samples/server.xml";
import sketch from "../samples/sketch.xml";

import { Problem, ask, keepToken, takeToken } from "./asking.js";
import { Catalogue } from "./catalogue.js";
import { DiffView } from "./diffview.js";
import { byId, counted, el, fill } from "./dom.js";
import { withoutRecord } from "./lines.js";
import { showProblem, showResult } from "./outcome.js";

const SAMPLES = { server, desktop, sketch };
const OPTIONS = ["override", "complete", "auto"];

const vm = byId("vm");
const catalogue = new Catalogue(showChosen);
const difference = new DiffView(byId("difference"));
let shown = null; // { before, result } of the last answer
let asked = 0;

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

function showChosen() {
  const chosen = catalogue.chosen();
  const chips = chosen.map((one) => {
    const text = one.priority === undefined ? one.name : `${one.name} · ${one.priority}`;
    const drop = () => {
      catalogue.drop(one.name);
      byId("apply").focus();
    };
    const label = `Take ${one.name} off the list`;
    return el("li", {}, text, el("button", { type: "button", class: "drop", "aria-label": label, on: { click: drop } }, "×"));
  });
  fill(byId("chosen"), chips);
  byId("none").hidden = chosen.length > 0;
}

async function load() {
  try {
    const { profiles } = await ask("/v1/profiles");
    byId("entry").hidden = true;
    byId("ask").hidden = false;
    catalogue.list(profiles);
    say(`${counted(profiles.length, "profile")} loaded`);
  } catch (problem) {
    refused(problem);
  }
}

/** A missing token is asked for; anything else is shown where results are. */
function refused(problem) {
  if (!(problem instanceof Problem)) {
    console.error(problem);
    return refused(new Problem(0, { message: `the page failed: ${problem.message}`, hint: "reload it" }));
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
  arrive(title || "That did not work", number ? `${counted(number, "conflict")}.` : "", problem.message);
}

/** The result's heading gets the focus, so that readers and keyboards go on from there. */
function arrive(title, summary, more = "") {
  byId("result").hidden = false;
  byId("result-title").textContent = title;
  byId("summary").textContent = summary;
  say(`${title}. ${summary || more}`);
  byId("result-title").focus({ preventScroll: true });
  byId("result").scrollIntoView({ block: "start" });
}

function say(text) {
  byId("said").textContent = text;
}

async function run(path, body, title) {
  const mine = ++asked;
  byId("result").setAttribute("aria-busy", "true");
  try {
    const result = await ask(path, body);
    if (mine !== asked) return; // a later question was asked since
    shown = { before: body.xml, result };
    fill(byId("problem"));
    fill(byId("notes"), showResult(result, form));
    byId("output").hidden = false;
    drawDifference();
    arrive(title, summed(result));
  } catch (problem) {
    if (mine === asked) refused(problem);
  } finally {
    if (mine === asked) byId("result").removeAttribute("aria-busy");
  }
}

function summed(result) {
  const who = new Set(result.changes.flatMap((one) => one.origins.map((origin) => origin.profile)));
  const parts = [
    result.changes.length ? `${counted(result.changes.length, "change")} by ${counted(who.size, "profile")}` : "nothing changes",
    result.skipped.length ? `${result.skipped.length} skipped` : "",
    result.overridden.length ? `${result.overridden.length} kept out` : "",
    result.warnings.length ? counted(result.warnings.length, "warning") : "",
  ];
  return parts.filter(Boolean).join(", ") + ".";
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

async function apply() {
  if (!vm.value.trim()) {
    vm.focus();
    say("Paste the XML of a VM first, choose a file, or take a sample.");
    return;
  }
  const body = { xml: vm.value, profiles: catalogue.chosen() };
  for (const name of OPTIONS) {
    if (byId(name).checked) body[name] = true;
  }
  if (!byId("record").checked) body.record = false;
  const known = await context();
  if (Object.keys(known).length) body.context = known;
  await run("/v1/apply", body, "The result");
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
    const press = () => run("/v1/unapply", { xml: vm.value, profiles: names }, "Taken back");
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
  return [words[one.state] ?? one.state, newer, drift].filter(Boolean).join(", ");
}

let waiting = 0;
function vmChanged() {
  clearTimeout(waiting);
  waiting = setTimeout(standing, 400);
}

function take(xml) {
  vm.value = xml;
  vmChanged();
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
    if (byId("ask").reportValidity()) apply();
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
vm.addEventListener("input", vmChanged);
byId("all-lines").addEventListener("change", drawDifference);
byId("with-record").addEventListener("change", drawDifference);
byId("copy").addEventListener("click", copy);
byId("download").addEventListener("click", download);
byId("next").addEventListener("click", () => {
  take(shown.result.xml);
  byId("sample").value = "";
  vm.focus();
});

window.addEventListener("hashchange", () => {
  if (takeToken()) load();
});

takeToken();
showChosen();
load();
