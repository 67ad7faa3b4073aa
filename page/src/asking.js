// SPDX-License-Identifier: GPL-2.0-or-later
// The service's answers. The token comes from the address's fragment, which no server sees, or
// from the field; it is kept for this tab only.

const KEPT = "virt-profile-token";

/** What the service refused: the fields of its problem document, and the HTTP status. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.message || body.title || `the service answered ${status}`);
    this.status = status;
    this.code = body.code || "";
    this.hint = body.hint || "";
    this.where = body.where || "";
    this.conflicts = body.conflicts || [];
    this.others = body.others || [];
  }
}

/** Takes the token out of the address, so that no history, bookmark or screen keeps it; was there one? */
export function takeToken() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (found === null) return false;
  keepToken(found);
  history.replaceState(null, "", location.pathname + location.search);
  return true;
}

export function keepToken(token) {
  sessionStorage.setItem(KEPT, token);
}

/**
 * Asks the service.
 *
 * @param {string} path such as "/v1/apply"
 * @param {Object} [body] with a body it is a POST
 * @throws {Problem} whatever is no answer
 */
export async function ask(path, body) {
  const headers = {};
  const token = sessionStorage.getItem(KEPT);
  if (token) headers.authorization = `Bearer ${token}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
    });
  } catch {
    throw new Problem(0, { message: "the service cannot be reached", hint: "is it still running?" });
  }
  let found;
  try {
    found = await answer.json();
  } catch {
    found = { message: `the service answered ${answer.status} without JSON` };
    if (answer.ok) throw new Problem(answer.status, found);
  }
  if (!answer.ok) throw new Problem(answer.status, found);
  return found;
}
