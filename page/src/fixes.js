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
