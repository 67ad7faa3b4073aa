// SPDX-License-Identifier: GPL-2.0-or-later
// Builds what the service and the Cockpit page ship, the same bytes from the same lock:
// `npm run build [DIRECTORY [COCKPIT_DIRECTORY]]`.

import { build } from "esbuild";
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const target = path.resolve(process.argv[2] ?? path.join(here, "..", "virtProfile", "service", "data", "page"));
await mkdir(target, { recursive: true });

// What both pages have in common stands in src/parts: `<!-- part: NAME -->`, on a line of its own.
const parts = {
  name: "parts",
  setup(made) {
    made.onLoad({ filter: /index\.html$/ }, async ({ path: file }) => {
      let text = await readFile(file, "utf8");
      for (const [line, indent, name] of text.matchAll(/^( *)<!-- part: (\w+) -->\n/gm)) {
        const part = await readFile(path.join(here, "src", "parts", `${name}.html`), "utf8");
        text = text.replace(line, () => part.replace(/^(?=.)/gm, indent));
      }
      return { contents: text, loader: "copy" };
    });
  },
};
const common = {
  absWorkingDir: here,
  bundle: true,
  minify: true,
  format: "iife",
  target: ["es2022", "chrome110", "firefox115", "safari16.4"],
  charset: "utf8",
  legalComments: "none",
  loader: { ".xml": "text", ".html": "copy", ".svg": "copy", ".json": "copy" },
  metafile: true,
};

const { metafile } = await build({
  ...common,
  entryPoints: ["src/page.js", "src/page.css", "src/index.html", "src/icon.svg"],
  outdir: target,
  plugins: [parts],
});
await licences(metafile, target, "page.js");

// Cockpit says by a class whether it is dark: the colours of page.css under that.
const colours = {
  name: "colours",
  setup(made) {
    made.onResolve({ filter: /^colours:/ }, () => ({ path: "colours", namespace: "colours" }));
    made.onLoad({ filter: /.*/, namespace: "colours" }, async () => {
      const css = await readFile(path.join(here, "src", "page.css"), "utf8");
      const [light, dark] = [...css.matchAll(/:root \{([^}]*)\}/g)].map((found) => found[1]);
      return { contents: `html:not(.pf-v5-theme-dark){${light}}html.pf-v5-theme-dark{${dark}}`, loader: "css" };
    });
  },
};
const cockpit = path.resolve(process.argv[3] ?? path.join(here, "..", "contrib", "cockpit", "virt-profile"));
await mkdir(cockpit, { recursive: true });
const sources = path.join(here, "..", "contrib", "cockpit", "src");
const found = await build({
  ...common,
  entryPoints: ["profiles.js", "profiles.css", "index.html", "manifest.json"].map((name) => path.join(sources, name)),
  outdir: cockpit,
  external: ["*.woff2"],
  nodePaths: [path.join(here, "node_modules")],
  plugins: [colours, parts],
});
await licences(found.metafile, cockpit, "profiles.js");

/** Writes every package of which something is in the bundle, with its licence. */
async function licences(metafile, directory, bundle) {
const names = new Set(
  Object.keys(metafile.inputs)
    .map((one) => /(?:^|\/)node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(one)?.[1])
    .filter(Boolean),
);
const parts = [`${bundle} is part of virt-profile, GPL-2.0-or-later, and has in it:\n`];
for (const name of [...names].sort()) {
  const place = path.join(here, "node_modules", name);
  const { version, license } = JSON.parse(await readFile(path.join(place, "package.json"), "utf8"));
  const file = (await readdir(place)).find((one) => /^licen[cs]e/i.test(one));
  const text = file ? (await readFile(path.join(place, file), "utf8")).trim() : "its package has no text of the licence";
  parts.push(`${name} ${version} (${license})\n\n${text}\n`);
}
await writeFile(path.join(directory, "licenses.txt"), parts.join(`\n${"-".repeat(72)}\n\n`));
}
