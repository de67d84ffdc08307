// Where to put the camera so that a whole clip is in the picture.
import type { Body, Clip } from "./body";

const FLESH_M = 0.14; // how far the surface may lie beyond the outermost joints (head, hands, feet)
const SAMPLES = 24;
const NARROW = 0.9; // width over height

export interface Extent {
	/** Lowest and highest point over the clip, metres. */
	readonly bottom: number;
	readonly top: number;
	/** How far the body reaches sideways from its hips. */
	readonly radius: number;
	/** Where the soles stand, or would. */
	readonly floor: number;
}

/** The extent of the body over a clip (null: the rest pose), measured from its hips. Leaves the body in the last sample. */
export function extentOf(body: Body, clip: Clip | null, hips: number): Extent {
	const { joints, count, jointsRest } = body.skeleton;
	let [bottom, top, radius] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0];
	const lowest: number[] = [];
	for (let s = 0; s < (clip ? SAMPLES : 1); s++) {
		body.pose(clip, clip ? (clip.seconds * s) / SAMPLES : 0);
		body.update({ splats: false, mesh: false });
		let low = Number.POSITIVE_INFINITY;
		for (let b = 0; b < count; b++) {
			const y = joints[3 * b + 1];
			low = Math.min(low, y);
			bottom = Math.min(bottom, y);
			top = Math.max(top, y);
			radius = Math.max(radius, Math.hypot(joints[3 * b] - joints[3 * hips], joints[3 * b + 2] - joints[3 * hips + 2]));
		}
		lowest.push(low);
	}
	const usual = lowest.sort((a, b) => a - b)[lowest.length >> 1]; // toes may dip, a body may jump
	let lowestRest = Number.POSITIVE_INFINITY;
	for (let b = 0; b < count; b++) lowestRest = Math.min(lowestRest, jointsRest[3 * b + 1]);
	const sole = body.data.page.floor_m - lowestRest; // below the lowest joint
	return { bottom: bottom + sole, top: top + FLESH_M, radius: radius + FLESH_M, floor: usual + sole };
}

/** Height of the point that the camera looks at: on a narrow picture a little above the middle, for the title's sake. */
export function targetHeight(extent: Extent, aspect: number): number {
	const height = extent.top - extent.bottom;
	return (extent.top + extent.bottom) / 2 + (aspect < NARROW ? 0.06 * height : 0);
}

/** How far away a camera with this vertical field of view (radians) sees the extent with a little air around it. */
export function distanceFor(extent: Extent, fov: number, aspect: number): number {
	const halfHeight = ((extent.top - extent.bottom) / 2) * (aspect < NARROW ? 1.26 : 1.12);
	const halfWidth = Math.min(extent.radius, 0.9) * 1.08;
	const tangent = Math.tan(fov / 2);
	return Math.max(halfHeight / tangent, halfWidth / (tangent * aspect)) + 0.15;
}
