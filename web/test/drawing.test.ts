import assert from "node:assert/strict";
import { test } from "node:test";
import { drawTriangles } from "../src/canvas_stage";
import { clock, fileName, words } from "../src/dom";
import { POSE_SETS, turnsOf } from "../src/poses";
import { near } from "./fakes";

const IDENTITY = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];

function picture(width: number, height: number) {
	return { width, height, data: new Uint8ClampedArray(4 * width * height) };
}

test("a triangle covers the pixels whose centres it holds, and the nearer one wins", () => {
	const out = picture(4, 4);
	// Clip space as it is: the far one covers everything in red, the near one the left half in green.
	const places = Float32Array.of(-1, -1, 0.5, 3, -1, 0.5, -1, 3, 0.5, -1, -1, -0.5, 0, -1, -0.5, -1, 9, -0.5);
	const colors = Float32Array.of(1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0);
	drawTriangles({ places, colors, faces: Uint32Array.of(3, 4, 5, 0, 1, 2) }, IDENTITY, out);
	for (let y = 0; y < 4; y++) {
		assert.deepEqual(Array.from(out.data.subarray(16 * y, 16 * y + 4)), [0, 255, 0, 255]);
		assert.deepEqual(Array.from(out.data.subarray(16 * y + 12, 16 * y + 16)), [255, 0, 0, 255]);
	}
});

test("colours are blended between corners", () => {
	const out = picture(1, 1);
	const places = Float32Array.of(-3, -3, 0, 3, -3, 0, 0, 3, 0);
	const colors = Float32Array.of(1, 0, 0, 0, 1, 0, 0, 0, 1);
	drawTriangles({ places, colors, faces: Uint32Array.of(0, 1, 2) }, IDENTITY, out);
	near(out.data, [64, 64, 128, 255], 1); // the middle of the picture is a quarter, a quarter and a half
});

test("a texture is looked up where the corners say and multiplied by their factors", () => {
	const out = picture(2, 2);
	const places = Float32Array.of(-1, 1, 0, 3, 1, 0, -1, -3, 0); // uv runs over the picture from its top left
	const uv = Float32Array.of(0, 0, 2, 0, 0, 2);
	const data = Uint8ClampedArray.of(10, 0, 0, 255, 20, 0, 0, 255, 30, 0, 0, 255, 40, 0, 0, 255);
	const texture = { uv, picture: { width: 2, height: 2, data } };
	drawTriangles(
		{ places, colors: new Float32Array(9).fill(1.5), faces: Uint32Array.of(0, 1, 2), texture },
		IDENTITY,
		out,
	);
	near(
		[0, 4, 8, 12].map((i) => out.data[i]),
		[15, 30, 45, 60],
	);
});

test("what reaches behind the eye is left out", () => {
	const out = picture(2, 2);
	const perspective = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, -1, -1, 0, 0, -0.2, 0]; // w = -z
	const places = Float32Array.of(-9, -9, 1, 9, -9, -2, 0, 9, -2);
	drawTriangles({ places, colors: new Float32Array(9), faces: Uint32Array.of(0, 1, 2) }, perspective, out);
	assert.ok(out.data.every((value) => value === 0));
});

test("names and times are written as people write them", () => {
	assert.equal(words("jawOpen"), "Jaw open");
	assert.equal(words("tongue_out"), "Tongue out");
	assert.equal(clock(67.32), "1:07.3");
});

test("sliders of a chain share the angle, and left and right are mirrored", () => {
	const [head] = POSE_SETS;
	const bones = new Map([
		["neck", 3],
		["head", 4],
		["leftUpperArm", 7],
		["rightUpperArm", 8],
	]);
	const turns = turnsOf(new Map([[head.sliders[0], 60]]), bones);
	near(turns.get(3)!, [0, Math.PI / 6, 0]);
	near(turns.get(4)!, [0, Math.PI / 6, 0]);
	const raise = (name: string) => POSE_SETS.find((set) => set.name === name)!.sliders[0];
	const arms = turnsOf(
		new Map([
			[raise("Left arm"), 90],
			[raise("Right arm"), 90],
		]),
		bones,
	);
	near(arms.get(7)!, [0, 0, Math.PI / 2]);
	near(arms.get(8)!, [0, 0, -Math.PI / 2]);
	assert.equal(turnsOf(new Map([[head.sliders[0], 60]]), new Map()).size, 0);
});

test("titles become names of files", () => {
	assert.equal(fileName("Ada's double, 2nd: ../../x"), "Ada-s-double-2nd-x");
	assert.equal(fileName("Große Ärztin"), "Große-Ärztin");
	assert.equal(fileName("</script>!"), "script");
	assert.equal(fileName("..."), "double");
});
