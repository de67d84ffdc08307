import assert from "node:assert/strict";
import { test } from "node:test";
import { Body, Clip } from "../src/body";
import { distanceFor, extentOf } from "../src/framing";
import { PosedSurface } from "../src/surface";
import { near, smallAvatar } from "./fakes";

const BOTH = { splats: true, mesh: true };

test("a bone turns about its own joint and takes its children along", () => {
	const body = new Body(smallAvatar());
	body.poseFrom([0, 0, Math.PI / 2, 0, 0, 0], [0, 3, 0]); // a quarter turn about +Z, and up by 3
	body.update(BOTH);
	near(body.skeleton.joints, [0, 3, 0, -1, 3, 0]);
	near(body.skeleton.worldQuats.subarray(4), [0, 0, Math.SQRT1_2, Math.SQRT1_2]);
});

test("a clip is blended between frames along the short arc", () => {
	const data = smallAvatar();
	const body = new Body(data);
	const clip = new Clip(data, data.page.motions[0]);
	assert.equal(clip.seconds, 0.2);
	body.pose(clip, 0.05); // half way between the two frames
	body.update(BOTH);
	near(body.skeleton.localQuats.subarray(4), [0, 0, Math.sin(Math.PI / 8), Math.cos(Math.PI / 8)]);
	near(body.skeleton.joints.subarray(0, 3), [0, 0, 1]);
	near(body.expression, [0.5, 0]);
	body.pose(clip, 99); // holds its last frame
	body.update(BOTH);
	near(body.skeleton.localQuats.subarray(4), [0, 0, Math.SQRT1_2, Math.SQRT1_2]);
});

test("correctives, morphs and skin move vertices in the order of the format", () => {
	const data = smallAvatar();
	const body = new Body(data);
	const surface = new PosedSurface(data, data.page.mesh!, body);
	body.addedExpression[0] = 1;
	body.poseFrom([0, 0, 0, 0, 0, Math.PI / 2], [0, 0, 0]);
	body.update(BOTH);
	// The child's quaternion has z = sin 45 degrees: the coefficient 2 z = 1.414 is cut to 1.2.
	near(body.correctives!.coefficients(body.skeleton), [1.2]);
	surface.update();
	const changes = body.meshSkin!.changes;
	near(changes.subarray(0, 4), [0.12, 0, 0, -0.6]); // node 0
	near(changes.subarray(4, 8), [0, 0.5, 0.24, 0.7]); // node 1 and the morph; its shade of 3.6 is cut to 0.7
	near(surface.places.subarray(0, 3), [0.12, 0.5, 0]); // stays with the root
	near(surface.places.subarray(3, 6), [-1.5, 1, 0.24]); // (0, 2.5, 0.24) about (0, 1, 0) by a quarter turn
	// Half with the root, half with the child: the mean of (1.06, 1, 0.12) and (0, 2.06, 0.12).
	near(surface.places.subarray(6, 9), [0.53, 1.53, 0.12], 1e-3);
	near(surface.colors.subarray(0, 3), [0.4, 0, 0]);
	near(surface.colors.subarray(3, 6), [0, 1, 0]); // 1.7 is cut to 1
});

test("all coefficients together are no longer than the reach", () => {
	const data = smallAvatar((page) => ({ ...page, correctives: { ...page.correctives!, reach: 0.5 } }));
	const body = new Body(data);
	body.poseFrom([0, 0, 0, 0, 0, Math.PI / 2], [0, 0, 0]);
	body.update(BOTH);
	near(body.correctives!.coefficients(body.skeleton), [0.5]);
});

test("a visitor's turn is added before the clip's, in the parent's axes", () => {
	const body = new Body(smallAvatar());
	body.addedTurns.set(1, [0, 0, Math.PI / 2]);
	body.poseFrom([0, 0, 0, Math.PI / 2, 0, 0], [0, 0, 0]);
	body.update(BOTH);
	// x a quarter, then z a quarter: q = qz * qx
	near(body.skeleton.localQuats.subarray(4), [0.5, 0.5, 0.5, 0.5]);
});

test("a pose that does not fit the rig is refused", () => {
	const body = new Body(smallAvatar());
	assert.throws(() => body.poseFrom([0, 0, 0], [0, 0, 0]), /A pose has 6 numbers/);
});

test("the camera is far enough for the whole clip, also in a narrow picture", () => {
	const data = smallAvatar();
	const body = new Body(data);
	const extent = extentOf(body, new Clip(data, data.page.motions[0]), 0);
	near([extent.bottom, extent.top, extent.floor], [-0.1, 1.14, -0.1], 1e-3);
	const fov = Math.PI / 5;
	const wide = distanceFor(extent, fov, 2);
	assert.ok((extent.top - extent.bottom) / 2 < (wide - 0.1) * Math.tan(fov / 2));
	assert.ok(distanceFor({ ...extent, radius: 0.9 }, fov, 0.4) > 1.5 * wide);
});
