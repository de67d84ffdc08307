// Prints the report of the Khronos glTF validator as JSON: node validate_gltf.mjs NODE_MODULES FILE.glb
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const [modules, file] = process.argv.slice(2);
const require = createRequire(resolve(modules, "index.js"));
const validator = require("gltf-validator");
const report = await validator.validateBytes(new Uint8Array(readFileSync(file)), { uri: file, maxIssues: 0 });
console.log(JSON.stringify(report));
