// Forward kinematics. Bones have no rest rotation: a pose is a turn of each bone about its own joint, in the rest axes.

/** Writes the unit quaternion (x, y, z, w) of a rotation vector. */
export function quatOfRotvec(out: Float32Array, at: number, x: number, y: number, z: number): void {
	const angle = Math.hypot(x, y, z);
	const s = angle > 1e-8 ? Math.sin(angle / 2) / angle : 0.5;
	out[at] = x * s;
	out[at + 1] = y * s;
	out[at + 2] = z * s;
	out[at + 3] = Math.cos(angle / 2);
}

/** Writes a * b for quaternions (x, y, z, w); `out` may be `a` or `b`. */
export function multiplyQuats(
	out: Float32Array,
	o: number,
	a: Float32Array,
	i: number,
	b: Float32Array,
	j: number,
): void {
	const [ax, ay, az, aw] = [a[i], a[i + 1], a[i + 2], a[i + 3]];
	const [bx, by, bz, bw] = [b[j], b[j + 1], b[j + 2], b[j + 3]];
	out[o] = aw * bx + ax * bw + ay * bz - az * by;
	out[o + 1] = aw * by - ax * bz + ay * bw + az * bx;
	out[o + 2] = aw * bz + ax * by - ay * bx + az * bw;
	out[o + 3] = aw * bw - ax * bx - ay * by - az * bz;
}

/** Where every bone is. */
export class Skeleton {
	readonly count: number;
	/** Turn of each bone against its parent, (x, y, z, w). */
	readonly localQuats: Float32Array;
	/** Turn of each bone since the rest pose, w not negative. */
	readonly worldQuats: Float32Array;
	/** Rows of [R | t] since the rest pose, 12 numbers for each bone. */
	readonly rows: Float32Array;
	/** Joints in the world, metres. */
	readonly joints: Float32Array;

	constructor(
		readonly parents: readonly number[],
		readonly jointsRest: Float32Array,
	) {
		this.count = parents.length;
		this.localQuats = new Float32Array(4 * this.count);
		this.worldQuats = new Float32Array(4 * this.count);
		this.rows = new Float32Array(12 * this.count);
		this.joints = new Float32Array(3 * this.count);
	}

	/** Takes the turns in `localQuats` and the root's translation, and fills the rest. */
	update(translation: ArrayLike<number>): void {
		const { parents, jointsRest: rest, localQuats, worldQuats: quats, rows, joints } = this;
		for (let b = 0; b < this.count; b++) {
			const p = parents[b];
			if (p < 0) {
				quats.set(localQuats.subarray(4 * b, 4 * b + 4), 4 * b);
				for (let k = 0; k < 3; k++) joints[3 * b + k] = rest[3 * b + k] + translation[k];
			} else {
				multiplyQuats(quats, 4 * b, quats, 4 * p, localQuats, 4 * b);
				const [dx, dy, dz] = [0, 1, 2].map((k) => rest[3 * b + k] - rest[3 * p + k]);
				for (let k = 0; k < 3; k++) {
					const r = 12 * p + 4 * k;
					joints[3 * b + k] = joints[3 * p + k] + rows[r] * dx + rows[r + 1] * dy + rows[r + 2] * dz;
				}
			}
			if (quats[4 * b + 3] < 0) for (let k = 0; k < 4; k++) quats[4 * b + k] *= -1;
			this.fillRows(b);
		}
	}

	private fillRows(b: number): void {
		const { rows, worldQuats: q, joints, jointsRest: rest } = this;
		const norm = Math.hypot(q[4 * b], q[4 * b + 1], q[4 * b + 2], q[4 * b + 3]) || 1;
		const [x, y, z, w] = [q[4 * b] / norm, q[4 * b + 1] / norm, q[4 * b + 2] / norm, q[4 * b + 3] / norm];
		const R = [
			1 - 2 * (y * y + z * z),
			2 * (x * y - w * z),
			2 * (x * z + w * y),
			2 * (x * y + w * z),
			1 - 2 * (x * x + z * z),
			2 * (y * z - w * x),
			2 * (x * z - w * y),
			2 * (y * z + w * x),
			1 - 2 * (x * x + y * y),
		];
		const [jx, jy, jz] = [rest[3 * b], rest[3 * b + 1], rest[3 * b + 2]];
		for (let k = 0; k < 3; k++) {
			const r = 12 * b + 4 * k;
			rows[r] = R[3 * k];
			rows[r + 1] = R[3 * k + 1];
			rows[r + 2] = R[3 * k + 2];
			rows[r + 3] = joints[3 * b + k] - (rows[r] * jx + rows[r + 1] * jy + rows[r + 2] * jz);
		}
	}
}
