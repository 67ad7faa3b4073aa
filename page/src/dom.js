// SPDX-License-Identifier: GPL-2.0-or-later
// Elements from plain values: text is always text, so nothing of a document becomes markup.

/**
 * Makes an element.
 *
 * @param {string} tag
 * @param {Object} given attributes; `on` holds listeners, true is an attribute without value,
 *   and what is null, undefined or false is left out
 * @param {...(Node|string|null|undefined)} inside
 */
export function el(tag, given = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
    } else if (value !== null && value !== undefined && value !== false) {
      made.setAttribute(name, value === true ? "" : value);
    }
  }
  made.append(...inside.flat().filter((one) => one !== null && one !== undefined));
  return made;
}

/** The element of the page with that id. */
export function byId(id) {
  return document.getElementById(id);
}

/** Puts new children where the old ones were. */
export function fill(place, ...inside) {
  place.replaceChildren(...inside.flat().filter((one) => one !== null && one !== undefined));
}

/** "1 change", "2 changes". */
export function counted(number, word) {
  return `${number} ${word}${number === 1 ? "" : "s"}`;
}
