// Pose-dependent correctives: features of the pose, a linear map, patterns on nodes (docs/avatar-format.md).
import type { AvatarData } from "./data";
import type { Skeleton } from "./skeleton";

/** Offset (x, y, z) and shade of each node for a pose. */
export class Correctives {
	readonly nodeValues: Float32Array;
	private readonly turnBones: readonly number[];
	private readonly upBones: readonly number[];
	private readonly map: Float32Array;
	private readonly mean: Float32Array;
	private readonly lowest: Float32Array;
	private readonly highest: Float32Array;
	private readonly reach: number;
	private readonly offsets: Float32Array;
	private readonly shades: Float32Array;

	static of(data: AvatarData): Correctives | null {
		return data.page.correctives ? new Correctives(data) : null;
	}

	private constructor(data: AvatarData) {
		const page = data.page.correctives!;
		this.turnBones = page.turn_bones;
		this.upBones = page.up_bones;
		this.map = data.floats(page.feature_map);
		this.mean = data.floats(page.feature_mean);
		this.lowest = data.floats(page.lowest);
		this.highest = data.floats(page.highest);
		this.reach = page.reach;
		this.offsets = data.floats(page.offsets_m);
		this.shades = data.floats(page.shades);
		this.nodeValues = new Float32Array(4 * page.shades.shape[1]);
	}

	/** What the pose asks for, kept within what training met. */
	coefficients(skeleton: Skeleton): Float32Array {
		const features = new Float32Array(this.mean.length);
		let f = 0;
		for (const b of this.turnBones) {
			const sign = skeleton.localQuats[4 * b + 3] < 0 ? -1 : 1;
			for (let k = 0; k < 3; k++) features[f++] = sign * skeleton.localQuats[4 * b + k];
		}
		for (const b of this.upBones) {
			for (let k = 0; k < 3; k++) features[f++] = skeleton.rows[12 * b + 4 + k] - (k === 1 ? 1 : 0);
		}
		const out = new Float32Array(this.lowest.length);
		let square = 0;
		for (let c = 0; c < out.length; c++) {
			let sum = 0;
			for (let i = 0; i < features.length; i++) sum += this.map[c * features.length + i] * (features[i] - this.mean[i]);
			out[c] = Math.min(Math.max(sum, this.lowest[c]), this.highest[c]);
			square += out[c] * out[c];
		}
		const gain = Math.min(1, this.reach / Math.max(Math.sqrt(square), 1e-9));
		return out.map((value) => value * gain);
	}

	/** Fills `nodeValues` for a pose. */
	update(skeleton: Skeleton): void {
		const coefficients = this.coefficients(skeleton);
		const { nodeValues, offsets, shades } = this;
		const nodes = nodeValues.length / 4;
		nodeValues.fill(0);
		for (let c = 0; c < coefficients.length; c++) {
			const value = coefficients[c];
			for (let n = 0; n < nodes; n++) {
				const from = 3 * (c * nodes + n);
				nodeValues[4 * n] += value * offsets[from];
				nodeValues[4 * n + 1] += value * offsets[from + 1];
				nodeValues[4 * n + 2] += value * offsets[from + 2];
				nodeValues[4 * n + 3] += value * shades[c * nodes + n];
			}
		}
	}
}
