// SPDX-License-Identifier: GPL-2.0-or-later
// Builds what the service ships: `npm run build [DIRECTORY]`, the same bytes from the same lock.

import { build } from "esbuild";
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const target = path.resolve(process.argv[2] ?? path.join(here, "..", "virtProfile", "data", "page"));
await mkdir(target, { recursive: true });

const { metafile } = await build({
  absWorkingDir: here,
  entryPoints: ["src/page.js", "src/page.css", "src/index.html", "src/icon.svg"],
  outdir: target,
  bundle: true,
  minify: true,
  format: "iife",
  target: ["es2022", "chrome110", "firefox115", "safari16.4"],
  charset: "utf8",
  legalComments: "none",
  loader: { ".xml": "text", ".html": "copy", ".svg": "copy" },
  metafile: true,
});

// Every package of which something is in the bundle, with its licence.
const names = new Set(
  Object.keys(metafile.inputs)
    .map((one) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(one)?.[1])
    .filter(Boolean),
);
const parts = ["page.js is part of virt-profile, GPL-2.0-or-later, and has in it:\n"];
for (const name of [...names].sort()) {
  const place = path.join(here, "node_modules", name);
  const { version, license } = JSON.parse(await readFile(path.join(place, "package.json"), "utf8"));
  const file = (await readdir(place)).find((one) => /^licen[cs]e/i.test(one));
  parts.push(`${name} ${version} (${license})\n\n${(await readFile(path.join(place, file), "utf8")).trim()}\n`);
}
await writeFile(path.join(target, "licenses.txt"), parts.join(`\n${"-".repeat(72)}\n\n`));
