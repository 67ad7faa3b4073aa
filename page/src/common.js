// SPDX-License-Identifier: GPL-2.0-or-later
// What the service's page and Cockpit's do alike around the catalogue and a result; src/parts has their markup.

import { byId, counted, el, fill } from "./dom.js";
import { withoutDirectories } from "./fixes.js";

/** The ticked profiles as chips, each with a button that takes it off. */
export function showChosen(catalogue) {
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
  if (!byId("lacking").hidden) lacks(catalogue); // goes as soon as it is mended
}

/** The first field that is not as it has to be, with the reason, which is shown; null where each is. */
export function lacks(catalogue) {
  const lacking = catalogue.lacking();
  byId("lacking").hidden = !lacking;
  byId("lacking").textContent = lacking?.text ?? "";
  return lacking;
}

/** A result in one line. */
export function summed(result) {
  const who = new Set(result.changes.flatMap((one) => one.origins.map((origin) => origin.profile)));
  const idle = result.applied.filter((one) => one.effect === "none");
  const warnings = result.warnings.filter((one) => one.code !== "no-effect" || !one.profile);
  const parts = [
    result.changes.length ? `${counted(result.changes.length, "change")} by ${counted(who.size, "profile")}` : "nothing changes",
    result.skipped.length ? `${result.skipped.length} skipped` : "",
    result.overridden.length ? `${result.overridden.length} kept out` : "",
    idle.length ? `${idle.length} without effect` : "",
    warnings.length ? counted(warnings.length, "warning") : "",
  ];
  return parts.filter(Boolean).join(", ") + ".";
}

/** Asks whether a VM is to be defined, with what its guest will see of that. */
export async function agreed(name, result) {
  const seen = result.warnings.filter((one) => one.code === "guest-abi");
  byId("agree-title").textContent = `Define ${name}?`;
  const text = seen.length ? "The guest will see other hardware at its next start:" : "libvirt gets the definition as it is shown.";
  fill(byId("agree-what"), el("p", {}, text), el("ul", {}, seen.map((one) => el("li", {}, withoutDirectories(one.message)))));
  byId("agree").returnValue = "no";
  byId("agree").showModal();
  await new Promise((done) => byId("agree").addEventListener("close", done, { once: true }));
  return byId("agree").returnValue === "yes";
}
