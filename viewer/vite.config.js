import { createHash } from "node:crypto";
import { readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { defineConfig } from "vite";

const here = fileURLToPath(new URL(".", import.meta.url));
const output = fileURLToPath(new URL("../service/static/viewer/", import.meta.url));
const SOURCES = ["index.html", "package-lock.json", "package.json", "src", "tsconfig.json", "vite.config.js"];

/** Paths of all files of the source, relative to this folder. */
function listFiles(name) {
  return statSync(here + name).isDirectory() ? readdirSync(here + name).flatMap((entry) => listFiles(`${name}/${entry}`)) : [name];
}

/** Folder of the built files, which `--outDir` may name. */
function outputOf({ root, build }) {
  return `${resolve(root, build.outDir)}/`;
}

/** Write `build.json`, whose digest of the sources says whether the built files are those of the sources. */
function recordSources() {
  let folder = output;
  return {
    name: "record-sources",
    configResolved: (config) => void (folder = outputOf(config)),
    closeBundle() {
      const digest = createHash("sha256");
      for (const name of SOURCES.flatMap(listFiles).sort()) {
        digest.update(`${name}\n${createHash("sha256").update(readFileSync(here + name)).digest("hex")}\n`);
      }
      writeFileSync(folder + "build.json", `${JSON.stringify({ sources: digest.digest("hex") }, null, 2)}\n`);
    },
  };
}

/** Write the licences of all packages in the page. */
function collectLicences() {
  const folders = new Set();
  let target = output;
  return {
    name: "collect-licences",
    configResolved: (config) => void (target = outputOf(config)),
    generateBundle() {
      for (const id of this.getModuleIds()) {
        const found = /^.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(id.replace("\0", ""));
        if (found) folders.add(found[0]);
      }
    },
    closeBundle() {
      const parts = [...folders].sort().map((folder) => {
        const { name, version } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
        const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
        return `${name} ${version}\n\n${file ? readFileSync(`${folder}/${file}`, "utf8").trim() : "See the package."}\n`;
      });
      writeFileSync(target + "licenses.txt", parts.join(`\n${"-".repeat(72)}\n\n`));
    },
  };
}

export default defineConfig({
  base: "./",
  build: { outDir: output, emptyOutDir: true, target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  // The stores have chunks of Blosc alone, which the page decodes itself; the codecs of numcodecs would be most of it.
  resolve: {
    alias: {
      "numcodecs/blosc": `${here}src/blosc.ts`,
      "numcodecs/zstd": `${here}src/absent_codec.ts`,
      "numcodecs/lz4": `${here}src/absent_codec.ts`,
    },
  },
  plugins: [recordSources(), collectLicences()],
});
