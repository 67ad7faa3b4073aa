// SPDX-License-Identifier: GPL-2.0-or-later
// What came out, beside the difference: conflicts with their fixes, what was skipped, what was
// kept out and why, warnings, and every change as a table.

import { el } from "./dom.js";
import { readFix, sides } from "./fixes.js";

const SOURCES = { requires: "required", auto: "by itself", metadata: "on the VM's list" };

/** A place as errors and warnings name it, FILE:LINE, without the directories. */
function place(text) {
  return text ? el("code", { title: text }, `${text.split("/").pop()}: `) : null;
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
 * @param {Problem} problem
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
      el("p", {}, place(one.where), one.message),
      one.hint && !(one.conflicts || []).length ? el("p", { class: "quiet" }, one.hint, HERE[one.code] ?? "") : null,
    ),
  );
  const offered = new Set();
  const conflicts = problem.conflicts.map((one, at) => conflict(one, at, form, offered, problem.code));
  return el("div", { class: "problem", "data-code": problem.code }, facts, conflicts);
}

/** `offered`: the profiles that an earlier conflict has buttons to leave out. */
function conflict(one, at, form, offered, code) {
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
  for (const name of sides(one).filter((each) => form.isTicked(each) && !offered.has(each))) {
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
    const items = result.overridden.map((one) => overridden(one, form));
    found.push(section("overridden", `Kept out (${result.overridden.length})`, el("ul", {}, items)));
  }
  if (result.warnings.length) {
    const items = result.warnings.map((one) =>
      el("li", {}, place(one.where), one.message),
    );
    found.push(section("warnings", `Warnings (${result.warnings.length})`, el("ul", {}, items)));
  }
  if (result.applied.length) {
    const items = result.applied.map((one) => {
      const how = [`priority ${one.priority}`, SOURCES[one.source]].filter(Boolean).join(", ");
      return el("li", {}, el("b", {}, one.name), ` ${one.version}, ${how}`);
    });
    found.push(section("applied", `Applied (${result.applied.length})`, el("ul", {}, items)));
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

function overridden(one, form) {
  const loser = one.loser.profile;
  const fact = [el("b", {}, loser), " wants ", el("code", {}, value(one.wanted)), " for ", el("code", {}, broken(one.path))];
  const why = ["; ", ...origin(one.winner), ` has ${value(one.has)} and keeps it. `];
  const win = one.winner === "definition" && form.isTicked(loser);
  return el(
    "li",
    {},
    fact,
    why,
    win
      ? el("button", { type: "button", on: { click: () => form.prioritise(loser, 100) } }, `Let ${loser} win`)
      : one.hint,
  );
}
