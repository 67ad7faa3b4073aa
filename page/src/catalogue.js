// SPDX-License-Identifier: GPL-2.0-or-later
// The profiles to tick: search, priority and parameters; what is ticked is what is asked for.

import { byId, counted, el, fill } from "./dom.js";

const WORDS = { int: "a number", size: "a size: KiB, or with a unit", string: "text" };

/** Must it be given? A secret need not: a VM that has the profile keeps the one it has. */
function needed(param) {
  return !param.secret && (param.default === null || param.default === undefined);
}

/** What is wrong with a field of a profile, in words, or "". */
function lacks(profile, name, field) {
  if (field.validity.valid) return "";
  if (field.validity.valueMissing) return `${profile} needs its parameter “${name}”.`;
  return `The ${name} of ${profile} is a whole number from ${field.min} to ${field.max}.`;
}

/** The catalogue of the page. */
export class Catalogue {
  /**
   * @param {() => void} changed called when the choice changes
   * @param {{secrets: boolean}} [can] may secret parameters be given here?
   */
  constructor(changed, { secrets = true } = {}) {
    this.changed = changed;
    this.secrets = secrets;
    this.rows = [];
    byId("search").addEventListener("input", () => this.filter());
    byId("search").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.ctrlKey) event.preventDefault(); // searching is not applying
    });
  }

  /**
   * @param {Object[]} profiles as the service lists them
   * @param {string[]} groups the titles of their groups, in order
   */
  list(profiles, groups = []) {
    const newest = new Map(); // a version that nobody asks for is not offered
    for (const one of profiles) {
      if (!one.replaced_by) newest.set(one.name, one);
    }
    const names = [...newest.keys()].sort();
    this.rows = names.map((name) => this.row(newest.get(name)));
    const titles = [...new Set([...groups, ...this.rows.map((row) => row.profile.group || "Others")])];
    this.groups = titles
      .map((title) => ({ title, rows: this.rows.filter((row) => (row.profile.group || "Others") === title) }))
      .filter((group) => group.rows.length);
    for (const [at, group] of this.groups.entries()) {
      const id = `group-${at}`;
      const list = el("ul", { "aria-labelledby": id }, group.rows.map((row) => row.item));
      group.section = el("section", {}, el("h3", { id }, group.title), list);
    }
    fill(byId("catalogue"), this.groups.map((group) => group.section));
    this.filter();
  }

  row(profile) {
    const id = `profile-${profile.name}`;
    const box = el("input", { type: "checkbox", id, on: { change: () => this.tick(row, box.checked) } });
    const fields = el("div", { class: "fields", hidden: true });
    const about = (profile.description || "").trim().replace(/\s+/g, " ");
    const row = {
      profile,
      box,
      fields,
      priority: null,
      params: new Map(),
      words: `${profile.name} ${profile.title || ""} ${about} ${profile.group || ""}`.toLowerCase(),
      item: el(
        "li",
        {},
        el(
          "div",
          { class: "pick" },
          box,
          el("label", { for: id }, el("b", {}, profile.name), " ", el("span", {}, profile.title || "")),
        ),
        fields,
      ),
      about,
    };
    return row;
  }

  /** Makes the fields of a profile when it is first ticked. */
  equip(row) {
    if (row.priority) return;
    const { profile } = row;
    const id = `priority-${profile.name}`;
    const changed = () => this.changed();
    row.priority = el("input", {
      type: "number", id, min: "-1000", max: "1000", step: "1", placeholder: "0", on: { input: changed },
    });
    const cells = [el("div", {}, el("label", { for: id }, "Priority"), row.priority)];
    for (const param of profile.params || []) {
      const where = `param-${profile.name}-${param.name}`;
      const input = this.field(param, where);
      input.addEventListener("input", changed);
      row.params.set(param.name, input);
      const must = needed(param);
      cells.push(
        el("div", {}, el("label", { for: where }, param.name, must ? " (needed)" : ""), input),
      );
    }
    fill(
      row.fields,
      el("div", { class: "cells" }, cells),
      row.about
        ? el("details", {}, el("summary", {}, "About ", el("span", { class: "hidden" }, profile.name)), el("p", {}, row.about))
        : null,
    );
  }

  field(param, id) {
    const must = needed(param);
    const description = param.description || WORDS[param.type];
    if (param.type === "bool") {
      const words = ["", "yes", "no"];
      const shown = (word) => word || (must ? "choose" : `default: ${param.default}`);
      return el("select", { id, required: must, title: description }, words.map((word) => el("option", { value: word }, shown(word))));
    }
    return el("input", {
      type: param.secret ? "password" : "text", id, required: must, title: description,
      placeholder: param.secret ? (this.secrets ? "secret; empty: as the VM has it" : "secret: as the VM has it") : param.default,
      disabled: Boolean(param.secret) && !this.secrets,
      inputmode: param.type === "int" ? "numeric" : null,
      autocomplete: param.secret ? "new-password" : "off", spellcheck: "false",
    });
  }

  tick(row, on) {
    row.box.checked = on;
    if (on) this.equip(row);
    row.fields.hidden = !on;
    this.filter();
    this.changed();
  }

  /** Shows what has all words of the search, and whatever is ticked. */
  filter() {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    let number = 0;
    for (const row of this.rows) {
      const fits = words.every((word) => row.words.includes(word));
      row.item.hidden = !fits && !row.box.checked;
      if (fits) number++;
    }
    for (const group of this.groups ?? []) group.section.hidden = group.rows.every((row) => row.item.hidden);
    byId("found").textContent = words.length
      ? `${counted(number, "profile")} found`
      : counted(this.rows.length, "profile");
  }

  find(name) {
    return this.rows.find((one) => one.profile.name === name);
  }

  isTicked(name) {
    return Boolean(this.find(name)?.box.checked);
  }

  /** Ticks a profile of the catalogue at a priority. */
  prioritise(name, priority) {
    const row = this.find(name);
    this.tick(row, true);
    row.priority.value = String(priority);
    this.changed();
  }

  drop(name) {
    const row = this.find(name);
    if (row) this.tick(row, false);
  }

  /**
   * What the browser would say in a bubble that goes away: marks the fields that lack something, and
   * gives the first with what it lacks, or null.
   *
   * @returns {{field: HTMLElement, text: string}|null}
   */
  lacking() {
    let first = null;
    for (const row of this.rows) {
      const named = [["priority", row.priority], ...row.params].filter(([, field]) => field);
      for (const [name, field] of named) {
        const text = row.box.checked ? lacks(row.profile.name, name, field) : "";
        if (text) field.setAttribute("aria-invalid", "true");
        else field.removeAttribute("aria-invalid");
        if (text) first ??= { field, text };
      }
    }
    return first;
  }

  /** What is ticked, as the service wants it. */
  chosen() {
    return this.rows
      .filter((row) => row.box.checked)
      .map((row) => {
        const wish = { name: row.profile.name };
        if (row.priority.value !== "") wish.priority = Number(row.priority.value);
        const params = {};
        for (const [name, input] of row.params) {
          if (input.value !== "") params[name] = input.value;
        }
        if (Object.keys(params).length) wish.params = params;
        return wish;
      });
  }
}
