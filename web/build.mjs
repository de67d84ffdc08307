// Bundles the page's program into the Python package, or (--tests) the tests into build/tests.
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "..", "src", "bodydouble", "avatar", "export", "page_assets");
const BUNDLED = ["three", "@sparkjsdev/spark", "fflate"];

const common = { bundle: true, logLevel: "warning", absWorkingDir: here, target: ["es2022"] };

async function licences() {
	const parts = [];
	for (const name of BUNDLED) {
		const folder = join(here, "node_modules", name);
		const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
		const text = (await readFile(join(folder, "LICENSE"), "utf8")).trim();
		parts.push(`${name} ${version} (${license})\n\n${text}\n`);
	}
	return parts.join(`\n${"-".repeat(72)}\n\n`);
}

async function buildPage() {
	const built = await esbuild.build({
		...common,
		entryPoints: ["src/main.ts"],
		format: "iife",
		minify: true,
		charset: "ascii", // the page's encoding can then never matter to the script
		legalComments: "none", // their texts are in licences.txt, which the page shows
		write: false,
	});
	const style = await esbuild.build({ ...common, entryPoints: ["src/style.css"], minify: true, write: false });
	const script = built.outputFiles[0].text.trim();
	// Either would end the script element early, or change how the parser reads it.
	for (const bad of ["</script", "<!--"]) {
		if (script.toLowerCase().includes(bad))
			throw new Error(`The bundle contains ${bad}: it cannot be put into a page.`);
	}
	await mkdir(target, { recursive: true });
	const files = {
		"page.js": script,
		"page.css": style.outputFiles[0].text.trim(),
		"page.html": await readFile(join(here, "src", "page.html"), "utf8"),
		"licences.txt": await licences(),
	};
	for (const [name, text] of Object.entries(files)) await writeFile(join(target, name), text);
	console.log(`page.js ${(script.length / 1e6).toFixed(2)} MB written to ${target}`);
}

async function buildTests() {
	const out = join(here, "build", "tests");
	await rm(out, { recursive: true, force: true });
	const names = (await readdir(join(here, "test"))).filter((name) => name.endsWith(".test.ts"));
	await esbuild.build({
		...common,
		entryPoints: names.map((name) => join("test", name)),
		format: "esm",
		platform: "node",
		outExtension: { ".js": ".mjs" },
		outdir: out,
	});
}

await (process.argv.includes("--tests") ? buildTests() : buildPage());
