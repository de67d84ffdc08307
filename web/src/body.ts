// The avatar at one moment: a clip's pose, the turns and the expression that a visitor adds, and what follows from them.
import { Correctives } from "./correctives";
import type { AvatarData } from "./data";
import type { PageMotion } from "./schema";
import { multiplyQuats, quatOfRotvec, Skeleton } from "./skeleton";
import { Skin } from "./skin";

/** A motion, unpacked. */
export class Clip {
	readonly name: string;
	readonly fps: number;
	readonly frames: number;
	readonly rotvecs: Float32Array;
	readonly translation: Float32Array;
	readonly expression: Float32Array;

	constructor(data: AvatarData, page: PageMotion) {
		this.name = page.name;
		this.fps = page.fps_hz;
		this.frames = page.frames;
		this.rotvecs = data.floats(page.rotvecs);
		this.translation = data.floats(page.translation_m);
		this.expression = data.floats(page.expression);
	}

	/** Seconds until it may start again. */
	get seconds(): number {
		return this.frames / this.fps;
	}
}

/** The body that is shown. Change its public values, then call `update`. */
export class Body {
	readonly skeleton: Skeleton;
	readonly correctives: Correctives | null;
	readonly splatSkin: Skin | null;
	readonly meshSkin: Skin | null;
	/** Strengths shown: the clip's and the visitor's together. */
	readonly expression: Float32Array;
	/** What the visitor adds. */
	readonly addedExpression: Float32Array;
	/** Rotation vectors that the visitor adds, by bone. */
	readonly addedTurns = new Map<number, readonly [number, number, number]>();
	private readonly clipExpression: Float32Array;
	private readonly translation = new Float32Array(3);
	private readonly next: Float32Array;

	constructor(readonly data: AvatarData) {
		const page = data.page;
		this.skeleton = new Skeleton(page.bone_parents, data.floats(page.joints_rest_m));
		this.correctives = Correctives.of(data);
		this.splatSkin = page.splats && new Skin(data, page.splats.skin, page.splats.count);
		this.meshSkin = page.mesh && new Skin(data, page.mesh.skin, page.mesh.vertices_rest_m.shape[0]);
		this.expression = new Float32Array(page.actions.length);
		this.addedExpression = new Float32Array(page.actions.length);
		this.clipExpression = new Float32Array(page.actions.length);
		this.next = new Float32Array(4);
	}

	/** The pose of a clip at a time in seconds, blended between frames; null is the rest pose. */
	pose(clip: Clip | null, seconds: number): void {
		const { skeleton } = this;
		if (!clip) {
			skeleton.localQuats.fill(0);
			for (let b = 0; b < skeleton.count; b++) skeleton.localQuats[4 * b + 3] = 1;
			this.translation.fill(0);
			this.clipExpression.fill(0);
			return;
		}
		const place = Math.min(Math.max(seconds * clip.fps, 0), clip.frames - 1);
		const low = Math.min(Math.floor(place), Math.max(clip.frames - 2, 0));
		const high = Math.min(low + 1, clip.frames - 1);
		this.blend(clip, low, high, place - low);
	}

	private blend(clip: Clip, low: number, high: number, share: number): void {
		const { localQuats: quats, count } = this.skeleton;
		const { next } = this;
		for (let b = 0; b < count; b++) {
			const i = 3 * (low * count + b);
			const j = 3 * (high * count + b);
			quatOfRotvec(quats, 4 * b, clip.rotvecs[i], clip.rotvecs[i + 1], clip.rotvecs[i + 2]);
			quatOfRotvec(next, 0, clip.rotvecs[j], clip.rotvecs[j + 1], clip.rotvecs[j + 2]);
			let dot = 0;
			for (let k = 0; k < 4; k++) dot += quats[4 * b + k] * next[k];
			const other = dot < 0 ? -share : share;
			for (let k = 0; k < 4; k++) quats[4 * b + k] = (1 - share) * quats[4 * b + k] + other * next[k];
			const norm = Math.hypot(quats[4 * b], quats[4 * b + 1], quats[4 * b + 2], quats[4 * b + 3]);
			for (let k = 0; k < 4; k++) quats[4 * b + k] /= norm;
		}
		for (let k = 0; k < 3; k++) {
			this.translation[k] = (1 - share) * clip.translation[3 * low + k] + share * clip.translation[3 * high + k];
		}
		const actions = this.clipExpression.length;
		for (let a = 0; a < actions; a++) {
			this.clipExpression[a] =
				(1 - share) * clip.expression[low * actions + a] + share * clip.expression[high * actions + a];
		}
	}

	/** A pose given as rotation vectors of all bones and the root's translation, in place of a clip's. */
	poseFrom(rotvecs: ArrayLike<number>, translation: ArrayLike<number>): void {
		const { skeleton } = this;
		if (rotvecs.length !== 3 * skeleton.count || translation.length !== 3) {
			throw new RangeError(`A pose has ${3 * skeleton.count} numbers and a translation 3 for this avatar.`);
		}
		for (let b = 0; b < skeleton.count; b++) {
			quatOfRotvec(skeleton.localQuats, 4 * b, rotvecs[3 * b], rotvecs[3 * b + 1], rotvecs[3 * b + 2]);
		}
		this.translation.set(Array.from(translation));
		this.clipExpression.fill(0);
	}

	/** Joints, correctives and changes of the parts that are shown, from the pose set before. */
	update(parts: { splats: boolean; mesh: boolean }): void {
		const { skeleton, next } = this;
		for (const [bone, [x, y, z]] of this.addedTurns) {
			quatOfRotvec(next, 0, x, y, z);
			multiplyQuats(skeleton.localQuats, 4 * bone, next, 0, skeleton.localQuats, 4 * bone);
		}
		skeleton.update(this.translation);
		for (let a = 0; a < this.expression.length; a++) {
			this.expression[a] = Math.min(1, this.clipExpression[a] + this.addedExpression[a]);
		}
		if (!parts.splats && !parts.mesh) return;
		this.correctives?.update(skeleton);
		const nodes = this.correctives?.nodeValues ?? null;
		if (parts.splats) this.splatSkin?.update(nodes, this.expression);
		if (parts.mesh) this.meshSkin?.update(nodes, this.expression);
	}
}
