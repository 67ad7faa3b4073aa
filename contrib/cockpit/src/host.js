// SPDX-License-Identifier: GPL-2.0-or-later
// What the page asks of the host: by virsh and virt-profile, with Cockpit's administrative access.

/* global cockpit */

const URI = "qemu:///system";

/** What went wrong, in the words of virt-profile, libvirt or Cockpit. */
export class Problem extends Error {
  constructor(message, more = {}) {
    super(message);
    this.code = more.code || "";
    this.hint = more.hint || "";
    this.where = more.where || "";
    this.conflicts = more.conflicts || [];
    this.others = more.others || [];
  }
}

/** `fine`: exit statuses besides 0 with which a program says what it was asked. */
function run(words, input, err = "message", fine = []) {
  const process = cockpit.spawn(words, { superuser: "try", err, environ: ["LC_ALL=C.UTF-8"] });
  if (input !== undefined) process.input(input);
  // A promise of the language: those of Cockpit take what a handler throws for a fault of the page.
  return new Promise((done, failed) => {
    process.then(done, (problem, text) => (text && fine.includes(problem.exit_status) ? done(text) : failed(told(words[0], problem, text))));
  });
}

function told(program, problem, text) {
  if (problem.problem === "not-found") {
    return new Problem(`${program} is not installed`, { code: "missing", hint: `install the package that has ${program}` });
  }
  if (problem.problem === "access-denied") return new Problem("administrative access is needed", { code: "access" });
  if (text) {
    try {
      const { error } = JSON.parse(text);
      if (error) return classified(new Problem(error.message, error));
    } catch {
      // it is no JSON: what it said otherwise is told
    }
  }
  return classified(new Problem((problem.message || String(problem)).replace(/^error: /gm, "").trim().replace(/\s*\n\s*/g, ": ")));
}

function classified(problem) {
  if (/authentication|access denied|permission denied|polkit/i.test(problem.message)) problem.code = "access";
  else if (/failed to connect|cannot connect|libvirt-sock/i.test(problem.message)) problem.code = "daemon";
  else if (/state change lock/i.test(problem.message)) problem.code = "busy";
  return problem;
}

const virsh = (...words) => run(["virsh", "-q", "-c", URI, ...words]);
const ours = (...words) => run(["virt-profile", "-q", "-c", URI, "--json", ...words]).then((text) => JSON.parse(text));

/** The names of all VMs, and of those that run. */
export async function listVms() {
  const [all, running] = await Promise.all([virsh("list", "--all", "--name"), virsh("list", "--name")]);
  const names = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);
  const active = new Set(names(running));
  return names(all).map((name) => ({ name, active: active.has(name) }));
}

/** How profiles stand on a VM. */
export const statusOf = (name) => ours(name, "--status");

/** The shipped profiles and the host's own, and what is said of files that cannot be read. */
export async function listProfiles() {
  const text = await run(["virt-profile", "--list", "--json"], undefined, "out");
  const start = text.search(/^\[/m);
  const lines = text.slice(0, start).split("\n").map((line) => line.trim().replace(/^WARNING +/, ""));
  const warnings = lines.filter(Boolean);
  return { profiles: JSON.parse(text.slice(start)).filter((one) => !one.shadowed), warnings };
}

/**
 * What the audit finds on the host's VMs, and why it cannot judge one: some findings are about several VMs side by
 * side. Statuses: 4 where there are findings, 1 where a VM could not be judged.
 */
export async function audit() {
  const text = await run(["virt-profile", "-q", "-c", URI, "--json", "--all", "--audit"], undefined, "message", [1, 4]);
  const { findings, errors, error } = JSON.parse(text);
  if (error) throw classified(new Problem(error.message, error));
  return {
    of: (name) => findings.filter((one) => one.vm === name || one.others.includes(name)),
    problem: (name) => errors.find((one) => one.vm === name)?.message ?? "",
  };
}

/** The definition of a VM; passwords are in it, so it is not for the screen. */
export const definitionOf = (name) => virsh("dumpxml", "--inactive", "--security-info", name);

/** What profiles did, in words. */
export const explained = (name) => run(["virt-profile", "-q", "-c", URI, name, "--explain", "--no-define"]);

/** The result of profiles on a VM (as the form has them, or as words of the command line), or of taking some back; with `define` it is defined. */
export function applied(name, { profiles = [], unapply = [], override = false, define = false }) {
  const words = profiles.flatMap((wish) => ["--profile", typeof wish === "string" ? wish : wishAsWords(wish)]);
  words.push(...unapply.flatMap((one) => ["--unapply", one]));
  if (override) words.push("--override");
  words.push(...(define ? ["--define", "--yes"] : ["--no-define"]));
  return ours(name, ...words);
}

/** `NAME,priority=N,PARAM=VALUE`, a comma of a value doubled. */
export function wishAsWords(wish) {
  const params = Object.entries(wish.params ?? {}).map(([name, value]) => `${name}=${value.replaceAll(",", ",,")}`);
  return [wish.name, wish.priority === undefined ? "" : `priority=${wish.priority}`, ...params].filter(Boolean).join(",");
}

/** Defines a VM as it was. */
export const restore = (xml) => run(["virsh", "-q", "-c", URI, "define", "/dev/stdin"], xml);

/** Starts libvirt where systemd has it. */
export const startLibvirt = () => run(["systemctl", "start", "libvirtd.service"]);

/** A definition for the screen: no password is in it. */
export const withoutPasswords = (xml) => xml.replace(/(\spasswd=)(?:"[^"]*"|'[^']*')/g, "$1'***'");
