// SPDX-License-Identifier: GPL-2.0-or-later
// Fixes of conflicts as the engine words them, read back: `--profile NAME,priority=N`.

const PRIORITY = /^--profile ([A-Za-z0-9][A-Za-z0-9._+-]*),priority=(-?\d+)$/;

/**
 * What a fix asks for, or null for one that a form cannot do.
 *
 * @param {string} fix
 * @returns {{name: string, priority: number}|null}
 */
export function readFix(fix) {
  const found = PRIORITY.exec(fix);
  return found && { name: found[1], priority: Number(found[2]) };
}

/**
 * The profiles that a conflict is between, each once.
 *
 * @param {Object} conflict as the service tells it
 * @returns {string[]}
 */
export function sides(conflict) {
  const names = conflict.values.map((one) => one.origin && one.origin.profile).filter(Boolean);
  return [...new Set(names)].sort();
}

/**
 * A text with the names of files in place of their paths.
 *
 * @param {string} text
 * @returns {string}
 */
export function withoutDirectories(text) {
  return text.replace(/(^|[\s('"])\/(?:[^\s/()'"]+\/)*([^\s/()'"]+\.xml)(?=$|[\s:)'"])/g, "$1$2");
}

/**
 * Does leaving a profile out help against a conflict? It does not where another one requires it.
 *
 * @param {Object[]} conflicts what is left of them without it
 * @param {Object} conflict
 * @returns {boolean}
 */
export function helped(conflicts, conflict) {
  const between = (one) => `${one.path} ${sides(one).join(" ")}`;
  return !conflicts.some((one) => between(one) === between(conflict));
}
