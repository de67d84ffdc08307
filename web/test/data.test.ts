import assert from "node:assert/strict";
import { test } from "node:test";
import { halfToFloat } from "../src/data";
import { near, smallAvatar } from "./fakes";

test("halves are read as IEEE 754 says", () => {
	const known: [number, number][] = [
		[0x0000, 0],
		[0x3c00, 1],
		[0xc000, -2],
		[0x7bff, 65504],
		[0x0001, 2 ** -24],
		[0x3555, 0.333251953125],
	];
	for (const [bits, value] of known) assert.equal(halfToFloat(bits), value);
	assert.equal(halfToFloat(0xfc00), Number.NEGATIVE_INFINITY);
	assert.ok(Number.isNaN(halfToFloat(0x7e00)));
});

test("blocks become scaled floats and whole numbers", () => {
	const data = smallAvatar();
	const mesh = data.page.mesh!;
	near(data.floats(mesh.colors).subarray(6), [0.2, 0.4, 0.8], 1e-6);
	assert.deepEqual(Array.from(data.integers(mesh.faces)), [0, 1, 2]);
	near(data.floats(mesh.skin.weights).subarray(0, 4), [1, 0, 0, 0]);
});

test("damaged pages and those of another version are refused in words", () => {
	assert.throws(
		() => smallAvatar((page) => ({ ...page, schema_version: 99 })),
		/data of version 99, but reads version 2/,
	);
	assert.throws(() => smallAvatar((page) => ({ ...page, unpacked_bytes: 7 })), /damaged: 7 bytes expected/);
	const data = smallAvatar();
	assert.throws(() => data.floats({ type: "float32", shape: [9999], offset: 0, scale: 1 }), /ends behind the data/);
});
