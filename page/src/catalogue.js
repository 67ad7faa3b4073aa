// SPDX-License-Identifier: GPL-2.0-or-later
// The profiles to tick: search, priority and parameters; what is ticked is what is asked for.

import { byId, counted, el, fill } from "./dom.js";

const WORDS = { int: "a number", size: "a size: KiB, or with a unit", string: "text" };

/** Must it be given? A secret need not: a VM that has the profile keeps the one it has. */
function needed(param) {
  return !param.secret && (param.default === null || param.default === undefined);
}

/** The catalogue of the page. */
export class Catalogue {
  /** @param {() => void} changed called when the choice changes */
  constructor(changed) {
    this.changed = changed;
    this.rows = [];
    byId("search").addEventListener("input", () => this.filter());
    byId("search").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.ctrlKey) event.preventDefault(); // searching is not applying
    });
  }

  /** @param {Object[]} profiles as the service lists them */
  list(profiles) {
    const newest = new Map(); // a version that nobody asks for is not offered
    for (const one of profiles) {
      if (!one.replaced_by) newest.set(one.name, one);
    }
    const names = [...newest.keys()].sort();
    this.rows = names.map((name) => this.row(newest.get(name)));
    fill(byId("catalogue"), this.rows.map((one) => one.item));
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
      words: `${profile.name} ${profile.title || ""} ${about}`.toLowerCase(),
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
      placeholder: param.secret ? "secret; empty: as the VM has it" : param.default,
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
