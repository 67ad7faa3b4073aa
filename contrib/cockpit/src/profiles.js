// SPDX-License-Identifier: GPL-2.0-or-later
// The Cockpit page: the host's VMs, and for each the profiles on it, ticked, looked at and defined.
// The catalogue, the difference and what is told of a result are those of the service's page.

/* global cockpit */

import { Catalogue } from "../../../page/src/catalogue.js";
import { agreed, lacks, showChosen, summed } from "../../../page/src/common.js";
import { DiffView } from "../../../page/src/diffview.js";
import { byId, counted, el, fill } from "../../../page/src/dom.js";
import { helped, sides, withoutDirectories } from "../../../page/src/fixes.js";
import { withoutRecord } from "../../../page/src/lines.js";
import { showProblem, showResult } from "../../../page/src/outcome.js";
import * as host from "./host.js";

const GROUPS = ["Bundles", "What applications write", "Guest OS", "Machine and firmware", "CPU", "Memory and NUMA", "Disks", "Network", "Display and input"];
const catalogue = new Catalogue(() => showChosen(catalogue), { secrets: false });
const difference = new DiffView(byId("difference"));
let vm = null; // { name, xml } of the VM that is shown
let shown = null; // { before, result, request } of the last answer
let asked = 0;

const form = {
  isTicked: (name) => catalogue.isTicked(name),
  knows: (name) => Boolean(catalogue.find(name)),
  prioritise(name, priority) {
    catalogue.prioritise(name, priority);
    look();
  },
  drop(name) {
    catalogue.drop(name);
    look();
  },
};

function button(text, press, kind = "pf-m-secondary", label = text) {
  const cls = `pf-v5-c-button ${kind} pf-m-small`;
  return el("button", { type: "button", class: cls, "aria-label": label, on: { click: press } }, text);
}

const say = (text) => (byId("said").textContent = text);

// --- the list ------------------------------------------------------------------------------------

async function showList() {
  vm = null;
  byId("one").hidden = true;
  byId("list").hidden = false;
  byId("list-panel").hidden = false;
  byId("trouble").hidden = true;
  byId("wait").hidden = false;
  byId("wait").textContent = "Asking libvirt…";
  delete byId("vms").dataset.filled;
  let all;
  try {
    all = await host.listVms();
  } catch (problem) {
    byId("list-panel").hidden = true;
    return trouble(problem, showList);
  }
  byId("wait").hidden = all.length > 0;
  byId("wait").textContent = all.length ? "" : "There is no VM on this host.";
  byId("vms").hidden = all.length === 0;
  const rows = all.map((one) => {
    const labels = el("td", {}, "…");
    const notes = el("td", {});
    const open = el("button", { type: "button", class: "link", on: { click: () => go(one.name) } }, one.name);
    return { one, labels, notes, row: el("tr", {}, el("td", {}, open), el("td", {}, one.active ? "running" : "shut off"), labels, notes) };
  });
  fill(byId("vms").querySelector("tbody"), rows.map((each) => each.row));
  const waiting = [...rows];
  const next = async () => {
    for (let each; (each = waiting.shift()); ) await fillRow(each);
  };
  await Promise.all([next(), next(), next()]);
  await countFindings(rows);
  byId("vms").dataset.filled = "yes";
}

/** How much the audit finds on each VM; that it fails is said when a VM is shown. */
async function countFindings(rows) {
  let found;
  try {
    found = await host.audit();
  } catch {
    return;
  }
  for (const { one, notes } of rows) {
    const count = found.of(one.name).length;
    if (count) notes.append(note(counted(count, "finding")));
  }
}

const note = (text) => el("span", { class: "pf-v5-c-label pf-m-gold" }, el("span", { class: "pf-v5-c-label__content" }, text));

async function fillRow({ one, labels, notes }) {
  try {
    const { profiles, pending } = await host.statusOf(one.name);
    const on = profiles.filter((each) => each.state !== "excluded");
    fill(labels, on.length ? on.map((each) => label(each)) : el("span", { class: "quiet" }, "none"));
    const words = [
      profiles.some((each) => each.drift.length) ? "changed by hand" : "",
      profiles.some(isNewer) ? "newer versions" : "",
      pending && on.length ? "changes are pending" : "",
    ].filter(Boolean);
    fill(notes, words.map(note));
  } catch (problem) {
    fill(labels, "?");
    fill(notes, el("span", { class: "bad" }, problem.message));
  }
}

const isNewer = (one) => Boolean(one.newest && one.version && one.newest !== one.version);

function label(one) {
  const kind = one.state === "applied" ? "pf-m-blue" : "";
  const text = one.state === "applied" ? one.name : `${one.name}: ${STATES[one.state] ?? one.state}`;
  return el("span", { class: `pf-v5-c-label ${kind}` }, el("span", { class: "pf-v5-c-label__content" }, text));
}

const STATES = { listed: "not applied yet", withdrawn: "off the list, still applied", excluded: "kept out", skipped: "does not apply" };

// --- a VM ----------------------------------------------------------------------------------------

function go(name) {
  cockpit.location.go([name]);
}

async function showVm(name) {
  byId("list").hidden = true;
  byId("trouble").hidden = true;
  byId("one").hidden = false;
  byId("result").hidden = true;
  fill(byId("findings-list"), el("li", { class: "quiet" }, "Looking…"));
  delete byId("findings").dataset.filled;
  byId("crumb").textContent = name;
  byId("vm-title").textContent = name;
  byId("vm-title").focus();
  const anew = vm?.name !== name; // what was ticked for one VM is not wished for another; asked again, it stays
  vm = { name };
  asked++; // an answer about another VM comes too late
  byId("result").removeAttribute("aria-busy");
  try {
    const { profiles, warnings } = await host.listProfiles();
    if (anew || !catalogue.rows.length) startAfresh(profiles);
    byId("broken").hidden = warnings.length === 0;
    fill(byId("broken-list"), warnings.map((line) => el("li", {}, line)));
    await standing();
  } catch (problem) {
    byId("ask").hidden = true;
    return trouble(problem, () => showVm(name));
  }
  byId("ask").hidden = false;
  await findings();
}

/** Nothing is ticked or searched for; profiles that are new on the host are there. */
function startAfresh(profiles) {
  byId("search").value = "";
  byId("override").checked = false;
  catalogue.list(profiles, GROUPS);
  catalogue.changed();
}

/** What the audit finds on the VM, each with its fix as a button: that shows the difference, as ticking does. */
async function findings() {
  const { name } = vm;
  const list = byId("findings-list");
  byId("findings-none").hidden = true;
  let items;
  try {
    const found = await host.audit();
    if (found.problem(name)) throw new host.Problem(found.problem(name));
    items = found.of(name).map((one) => {
      const level = el("span", { class: `pf-v5-c-label ${LEVELS[one.level] ?? ""}` }, el("span", { class: "pf-v5-c-label__content" }, one.level));
      const press = () => show({ profiles: [one.fix] }, "The fix");
      const fix = one.fix ? button(`Fix by ${one.fix.split(",")[0]}`, press, "pf-m-secondary", `Fix by ${one.fix}: ${one.message}`) : null;
      return el("li", {}, level, el("span", { title: one.profile }, withoutDirectories(one.message)), fix);
    });
  } catch (problem) {
    items = [el("li", { class: "bad" }, problem.message)];
  }
  if (name !== vm?.name) return;
  fill(list, items);
  byId("findings-none").hidden = items.length > 0;
  byId("findings").dataset.filled = name;
}

const LEVELS = { error: "pf-m-red", warning: "pf-m-gold", info: "pf-m-blue" };

async function standing() {
  const { profiles } = await host.statusOf(vm.name);
  byId("standing-none").hidden = profiles.length > 0;
  const back = (unapply, text, name) => button(text, () => show({ unapply }, "Without it"), "pf-m-secondary", name);
  const items = profiles.map((one) => {
    const words = [STATES[one.state] ?? one.state, isNewer(one) ? `${one.newest} is newer` : ""];
    if (one.drift.length) words.push(`${one.drift.length} changed by hand`);
    const text = ` ${one.version ?? ""} ${words.filter(Boolean).join(", ")}`;
    return el("li", {}, el("span", {}, el("b", {}, one.name), text), one.state === "excluded" ? null : back([one.name], "Take back", `Take back ${one.name}`));
  });
  fill(byId("standing-list"), items);
  fill(byId("standing-all"), profiles.length > 1 ? back(["all"], "Take all back") : null);
  byId("history").hidden = profiles.length === 0;
  byId("history").open = false;
}

function look() {
  const lacking = lacks(catalogue);
  if (lacking) {
    byId("result").hidden = true;
    lacking.field.focus();
    return say(lacking.text);
  }
  return show({ profiles: catalogue.chosen(), override: byId("override").checked }, "The difference");
}

/** Looks at what a request makes, and with `define` in it defines that. */
async function show(request, title) {
  const mine = ++asked;
  byId("result").hidden = false;
  byId("result").setAttribute("aria-busy", "true");
  byId("trouble").hidden = true;
  const { name } = vm;
  try {
    const before = await host.definitionOf(name);
    if (request.define && before !== shown.before) {
      throw new host.Problem(`${name} was changed since it was shown`, { hint: "look at the difference again" });
    }
    const result = await host.applied(name, request);
    if (mine !== asked) return;
    shown = { before, result, request };
    fill(byId("problem"));
    fill(byId("notes"), showResult(result, form));
    byId("output").hidden = false;
    byId("define").hidden = Boolean(request.define) || before === result.xml;
    byId("undo").hidden = !request.define;
    draw();
    arrive(title, summed(result));
    if (request.define) {
      await standing();
      await findings();
    }
  } catch (problem) {
    if (mine !== asked) return;
    if (problem.conflicts?.length) problem.useless = await useless(problem, request);
    refused(problem, request, title);
  } finally {
    if (mine === asked) byId("result").removeAttribute("aria-busy");
  }
}

/** Ticked profiles that it does not help to leave out. */
async function useless(problem, request) {
  const found = new Set();
  for (const name of [...new Set(problem.conflicts.flatMap(sides))].filter((each) => catalogue.isTicked(each))) {
    let left = [];
    try {
      await host.applied(vm.name, { ...request, define: false, profiles: request.profiles.filter((one) => one.name !== name) });
    } catch (other) {
      left = other.conflicts ?? [];
    }
    if (problem.conflicts.every((one) => !sides(one).includes(name) || !helped(left, one))) found.add(name);
  }
  return found;
}

/** `request`, `retried`: what a VM that is busy may be asked again, and the title of that. */
function refused(problem, request, retried) {
  if (!(problem instanceof host.Problem)) {
    console.error(problem);
    problem = new host.Problem(`the page failed: ${problem.message}`, { hint: "reload it" });
  }
  if (["access", "daemon", "missing"].includes(problem.code)) {
    byId("result").hidden = true;
    return trouble(problem, () => showVm(vm.name));
  }
  shown = null;
  difference.shown = null;
  difference.clear();
  byId("output").hidden = true;
  fill(byId("problem"), showProblem(problem, form));
  const more = problem.code === "busy" && request ? [button("Try again", () => show(request, retried))] : [];
  fill(byId("notes"), more);
  const title = { conflict: "These cannot hold together", cycle: "No stable selection", busy: "The VM is busy" }[problem.code];
  arrive(title || "That did not work", problem.conflicts.length ? `${counted(problem.conflicts.length, "conflict")}.` : "");
}

function arrive(title, summary) {
  byId("result-title").textContent = title;
  byId("summary").textContent = summary;
  say(`${title}. ${summary}`);
  byId("result-title").focus({ preventScroll: true });
  byId("result").scrollIntoView({ block: "start" });
}

function draw() {
  if (!shown) return;
  const whole = byId("with-record").checked;
  const cut = (text) => host.withoutPasswords(whole ? text : withoutRecord(text)).replace(/\r?\n$/, "");
  const [before, after] = [cut(shown.before), cut(shown.result.xml)];
  byId("same").hidden = before !== after;
  byId("difference").hidden = before === after;
  difference.show(before, after, shown.result.changes, byId("all-lines").checked);
}

async function define() {
  if (await agreed(vm.name, shown.result)) await show({ ...shown.request, define: true }, `${vm.name} is defined`);
}

async function undo() {
  try {
    await host.restore(shown.before);
    byId("output").hidden = true;
    fill(byId("notes"));
    arrive("Undone", `${vm.name} is as it was.`);
    await standing();
    await findings();
  } catch (problem) {
    refused(problem);
  }
}

// --- what is in the way --------------------------------------------------------------------------

function trouble(problem, again) {
  const words = {
    access: ["You may not manage the VMs of this host", "Turn on administrative access at the top of Cockpit, or ask for membership in the group libvirt."],
    daemon: ["libvirt cannot be reached", "Is its service running?"],
    missing: ["Something is not installed", ""],
  }[problem.code] ?? ["That did not work", ""];
  byId("trouble-title").textContent = words[0];
  fill(byId("trouble-text"), el("p", {}, words[1]), el("p", {}, problem.message), problem.hint ? el("p", {}, problem.hint) : null);
  const start = async () => {
    try {
      await host.startLibvirt();
      again();
    } catch (other) {
      trouble(new host.Problem(other.message, { code: "daemon" }), again);
    }
  };
  fill(byId("trouble-actions"), problem.code === "daemon" ? button("Start libvirt", start, "pf-m-primary") : null, button("Try again", again));
  byId("trouble").hidden = false;
  say(words[0]);
}

// --- Cockpit's look and addresses ----------------------------------------------------------------

function colours() {
  const style = localStorage.getItem("shell:style") || "auto";
  const dark = style === "dark" || (style === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.classList.toggle("pf-v5-theme-dark", dark);
}

function where() {
  const [name] = cockpit.location.path;
  if (name) showVm(name);
  else showList();
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  look();
});
byId("back").addEventListener("click", () => cockpit.location.go([]));
byId("define").addEventListener("click", define);
byId("undo").addEventListener("click", undo);
byId("all-lines").addEventListener("change", draw);
byId("with-record").addEventListener("change", draw);
byId("history").addEventListener("toggle", async () => {
  if (!byId("history").open) return;
  try {
    byId("history-text").textContent = host.withoutPasswords(await host.explained(vm.name));
  } catch (problem) {
    byId("history-text").textContent = problem.message;
  }
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", colours);
window.addEventListener("storage", colours);
window.addEventListener("cockpit-style", colours);
cockpit.addEventListener("locationchanged", where);
colours();
showChosen(catalogue);
cockpit.transport.wait(where);
