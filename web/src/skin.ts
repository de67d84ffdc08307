// What a pose and an expression do to the rest positions of a part (splats or vertices), and linear blend skinning.
import type { AvatarData } from "./data";
import type { PageSkin } from "./schema";

/** A colour changes by this share at most. */
export const MAX_SHADE = 0.7;

interface Morph {
	readonly action: number;
	readonly indices: Uint32Array;
	readonly deltas: Float32Array;
}

/** The skin of a part of the avatar. */
export class Skin {
	readonly joints: Uint32Array;
	readonly weights: Float32Array;
	/** Rest offset (x, y, z), metres, and relative change of colour, for each element. */
	readonly changes: Float32Array;
	private readonly nodes: Uint32Array | null;
	private readonly nodeWeights: Float32Array | null;
	private readonly morphs: readonly Morph[];

	constructor(
		data: AvatarData,
		page: PageSkin,
		readonly count: number,
	) {
		this.joints = data.integers(page.joints);
		this.weights = data.floats(page.weights);
		this.changes = new Float32Array(4 * count);
		this.nodes = page.nodes && data.integers(page.nodes);
		this.nodeWeights = page.node_weights && data.floats(page.node_weights);
		this.morphs = page.morphs.map((m) => ({
			action: m.action,
			indices: data.integers(m.indices),
			deltas: data.floats(m.deltas_m),
		}));
	}

	/** Fills `changes` from the correctives' nodes and the strengths of the facial actions. */
	update(nodeValues: Float32Array | null, expression: ArrayLike<number>): void {
		const { changes, nodes, nodeWeights } = this;
		changes.fill(0);
		if (nodeValues && nodes && nodeWeights) {
			for (let i = 0; i < changes.length; i += 4) {
				for (let k = 0; k < 4; k++) {
					const node = 4 * nodes[i + k];
					const weight = nodeWeights[i + k];
					changes[i] += weight * nodeValues[node];
					changes[i + 1] += weight * nodeValues[node + 1];
					changes[i + 2] += weight * nodeValues[node + 2];
					changes[i + 3] += weight * nodeValues[node + 3];
				}
				changes[i + 3] = Math.min(Math.max(changes[i + 3], -MAX_SHADE), MAX_SHADE);
			}
		}
		for (const { action, indices, deltas } of this.morphs) {
			const strength = expression[action];
			if (!strength) continue;
			for (let m = 0; m < indices.length; m++) {
				const i = 4 * indices[m];
				changes[i] += strength * deltas[3 * m];
				changes[i + 1] += strength * deltas[3 * m + 1];
				changes[i + 2] += strength * deltas[3 * m + 2];
			}
		}
	}

	/** Moves changed rest positions to the world: sum of weight times [R | t] of each bone. */
	points(rest: Float32Array, rows: Float32Array, out: Float32Array): void {
		const { joints, weights, changes, count } = this;
		for (let i = 0; i < count; i++) {
			const x = rest[3 * i] + changes[4 * i];
			const y = rest[3 * i + 1] + changes[4 * i + 1];
			const z = rest[3 * i + 2] + changes[4 * i + 2];
			let px = 0;
			let py = 0;
			let pz = 0;
			for (let k = 0; k < 4; k++) {
				const weight = weights[4 * i + k];
				if (weight === 0) continue;
				const r = 12 * joints[4 * i + k];
				px += weight * (rows[r] * x + rows[r + 1] * y + rows[r + 2] * z + rows[r + 3]);
				py += weight * (rows[r + 4] * x + rows[r + 5] * y + rows[r + 6] * z + rows[r + 7]);
				pz += weight * (rows[r + 8] * x + rows[r + 9] * y + rows[r + 10] * z + rows[r + 11]);
			}
			out[3 * i] = px;
			out[3 * i + 1] = py;
			out[3 * i + 2] = pz;
		}
	}
}
