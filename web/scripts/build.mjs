// Bundle the page into the Python package, and write NOTICE from the licences of what is bundled.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const LIMIT_BYTES = 500_000; // gzipped
const web = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const assets = resolve(web, "../src/datumaro_embed/page/assets");

const { metafile } = await build({
  absWorkingDir: web,
  entryPoints: { app: "src/app.tsx" },
  outdir: assets,
  bundle: true,
  minify: true,
  metafile: true,
  target: ["es2022"],
  charset: "utf8",
  legalComments: "none", // NOTICE has them
  jsx: "automatic",
  jsxImportSource: "preact",
});

/** Packages that esbuild read files of: `node_modules/@scope/name` or `node_modules/name`. */
function bundledPackages() {
  const found = Object.keys(metafile.inputs).map((path) => path.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1]);
  return [...new Set(found.filter(Boolean))].sort();
}

function notice(name) {
  const folder = join(web, "node_modules", name);
  const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
  if (!file) throw new Error(`${name} ${version} has no licence file: add its licence to NOTICE by hand`);
  return `${name} ${version} (${license})\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
}

const head = "datumaro_embed/page/assets/app.js contains these packages. web/scripts/build.mjs writes this file.\n";
writeFileSync(resolve(web, "../NOTICE"), [head, ...bundledPackages().map(notice)].join(`\n${"-".repeat(80)}\n\n`));

const size = ["app.js", "app.css"].reduce((sum, name) => sum + gzipSync(readFileSync(join(assets, name))).length, 0);
console.log(`${size.toLocaleString("en-US")} bytes gzipped; ${bundledPackages().join(", ")}`);
if (size > LIMIT_BYTES) throw new Error(`more than ${LIMIT_BYTES} bytes gzipped`);
