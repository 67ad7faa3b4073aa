// SPDX-License-Identifier: GPL-2.0-or-later
// What came out, beside the difference: conflicts with their fixes, what was skipped, what was
// kept out and why, warnings, and every change as a table.

import { el } from "./dom.js";
import { readFix, sides, withoutDirectories } from "./fixes.js";

const SOURCES = { requires: "required", auto: "by itself", metadata: "on the VM's list" };

/** A place as errors and warnings name it, without the directories, which a title has. */
function place(text) {
  return text ? el("code", { title: text }, `${withoutDirectories(text)}: `) : null;
}

/** Where a profile says it, without the directories, which a title has. */
function where(one) {
  if (one === "definition" || !one || !one.line) return "";
  return el("span", { title: one.file, class: "quiet" }, `${one.file.split("/").pop()}:${one.line}`);
}

function origin(one) {
  if (one === "definition" || !one) return ["the VM definition"];
  return [`${one.profile} ${one.version} `, where(one)];
}

const WITHOUT_PATH = { conflict: "These exclude each other", cycle: "These switch each other on and off" };

/** Hints speak of the command line; where the page has it. */
const HERE = { "missing-context": "; on this page: under Options" };

function value(one) {
  return one === null || one === undefined ? "none" : `“${one}”`;
}

function section(id, title, ...inside) {
  return el("section", { id, "aria-labelledby": `${id}-title` }, el("h3", { id: `${id}-title` }, title), ...inside);
}

/**
 * An error, with a button for each fix that the form can do.
 *
 * @param {Problem} problem with `useless`, the profiles that it does not help to leave out
 * @param {Object} form `isTicked(name)`, `knows(name)`, `prioritise(name, priority)`, `drop(name)`, each of
 *   the last two followed by a new run
 */
export function showProblem(problem, form) {
  // conflicts say themselves what the message counts
  const told = problem.conflicts.length ? problem.others : [problem, ...problem.others];
  const facts = told.map((one) =>
    el(
      "div",
      { class: "fact" },
      el("p", {}, place(one.where), withoutDirectories(one.message)),
      one.hint && !(one.conflicts || []).length ? el("p", { class: "quiet" }, one.hint, HERE[one.code] ?? "") : null,
    ),
  );
  const offered = new Set();
  const conflicts = problem.conflicts.map((one, at) => conflict(one, at, form, offered, problem));
  return el("div", { class: "problem", "data-code": problem.code }, facts, conflicts);
}

/** `offered`: the profiles that an earlier conflict has buttons to leave out. */
function conflict(one, at, form, offered, problem) {
  const { code } = problem;
  const id = `conflict-${at}`;
  const buttons = [];
  const texts = [];
  for (const fix of one.fixes) {
    const read = readFix(fix);
    if (!read || !form.knows(read.name)) texts.push(fix);
    else {
      const press = () => form.prioritise(read.name, read.priority);
      buttons.push(el("button", { type: "button", on: { click: press } }, `${read.name} at priority ${read.priority}`));
    }
  }
  const helps = (name) => !problem.useless?.has(name);
  for (const name of sides(one).filter((each) => form.isTicked(each) && helps(each) && !offered.has(each))) {
    offered.add(name);
    buttons.push(el("button", { type: "button", on: { click: () => form.drop(name) } }, `Without ${name}`));
  }
  const rows = one.values.map((each) =>
    el(
      "tr",
      {},
      el("td", {}, each.origin === "definition" ? "the VM definition" : each.origin.profile),
      one.path ? el("td", {}, el("code", {}, value(each.value))) : null,
      one.path ? el("td", {}, `${each.priority}${each.constraint === "hard" ? ", hard" : ""}`) : null,
      el("td", {}, where(each.origin)),
    ),
  );
  const heads = ["Profile", one.path ? "Wants" : null, one.path ? "Priority" : null, "Where"].filter(Boolean);
  return el(
    "section",
    { class: "conflict", "aria-labelledby": id },
    el("h3", { id }, one.path ? el("code", {}, broken(one.path)) : WITHOUT_PATH[code] ?? ""),
    table(heads, rows),
    buttons.length ? el("div", { class: "buttons", role: "group", "aria-label": "Ways out" }, buttons) : null,
    texts.length ? el("p", { class: "quiet" }, "Or by hand: ", el("code", {}, texts.join(" or "))) : null,
  );
}

/** A path that may break after each step. */
function broken(path) {
  return path.split("/").flatMap((step, at) => (at ? ["/", el("wbr"), step] : [step]));
}

function table(heads, rows) {
  return el(
    "div",
    { class: "table" },
    el("table", {}, el("thead", {}, el("tr", {}, heads.map((one) => el("th", { scope: "col" }, one)))), el("tbody", {}, rows)),
  );
}

/**
 * All that a result tells besides the document.
 *
 * @param {Object} result
 * @param {Object} form as for `showProblem`
 * @returns {HTMLElement[]}
 */
export function showResult(result, form) {
  const found = [];
  if (result.skipped.length) {
    const items = result.skipped.map((one) =>
      el("li", {}, el("b", {}, one.name), ` ${one.version}: `, one.detail || one.reason),
    );
    found.push(section("skipped", `Skipped (${result.skipped.length})`, el("ul", {}, items)));
  }
  if (result.overridden.length) {
    const losers = grouped(result.overridden, (one) => one.loser.profile);
    const items = [...losers].map(([name, ones]) => kept(name, ones, form));
    found.push(section("overridden", `Kept out (${result.overridden.length})`, el("ul", {}, items)));
  }
  const without = new Map(result.warnings.filter((one) => one.code === "no-effect").map((one) => [one.profile, one]));
  const warnings = result.warnings.filter((one) => one.code !== "no-effect" || !one.profile);
  if (warnings.length) {
    const items = warnings.map((one) => el("li", {}, place(one.where), withoutDirectories(one.message)));
    found.push(section("warnings", `Warnings (${warnings.length})`, el("ul", {}, items)));
  }
  const instance = (one) => (one.instance ? `${one.name}#${one.instance}` : one.name);
  const applied = result.applied.filter((one) => one.effect !== "none");
  if (applied.length) {
    const items = applied.map((one) => {
      const how = [`priority ${one.priority}`, SOURCES[one.source], one.effect === "held" ? "the VM had all of it" : ""];
      return el("li", {}, el("b", {}, instance(one)), ` ${one.version}, ${how.filter(Boolean).join(", ")}`);
    });
    found.push(section("applied", `Applied (${applied.length})`, el("ul", {}, items)));
  }
  const idle = result.applied.filter((one) => one.effect === "none");
  if (idle.length) {
    const items = idle.map((one) => {
      const why = without.get(instance(one))?.message.replace(/^profile '[^']*' has no effect: /, "");
      return el("li", {}, el("b", {}, instance(one)), ` ${one.version}`, why ? `: ${withoutDirectories(why)}` : "");
    });
    found.push(section("idle", `Without effect (${idle.length})`, el("ul", {}, items)));
  }
  if (result.changes.length) {
    const rows = result.changes.map((one) =>
      el(
        "tr",
        {},
        el("td", {}, one.op),
        el("td", {}, el("code", {}, broken(one.path))),
        el("td", {}, el("code", {}, change(one))),
        el("td", {}, one.origins.map((each) => el("div", {}, ...origin(each)))),
      ),
    );
    found.push(
      el(
        "details",
        { id: "changes" },
        el("summary", {}, `All changes as a table (${result.changes.length})`),
        table(["", "Path", "Value", "Set by"], rows),
      ),
    );
  }
  return found;
}

function change(one) {
  if (one.before === null && one.after === null) return "";
  if (one.op === "add") return one.after ?? "";
  return one.op === "remove" ? (one.before ?? "") : `${one.before} → ${one.after}`;
}

/** What one profile wanted and did not get; one button lets it win, where it lost to the VM definition. */
function kept(name, ones, form) {
  const win = ones.some((one) => one.winner === "definition") && form.knows(name);
  const button = el("button", { type: "button", on: { click: () => form.prioritise(name, 100) } }, `Let ${name} win`);
  const items = ones.map((one) =>
    el(
      "li",
      {},
      "wants ",
      el("code", {}, value(one.wanted)),
      " for ",
      el("code", {}, broken(one.path)),
      "; ",
      ...origin(one.winner),
      ` has ${value(one.has)} and keeps it. `,
      win && one.winner === "definition" ? null : one.hint,
    ),
  );
  return el("li", {}, el("p", {}, el("b", {}, name), win ? button : null), el("ul", {}, items));
}

function grouped(all, key) {
  const found = new Map();
  for (const one of all) found.set(key(one), [...(found.get(key(one)) ?? []), one]);
  return found;
}
