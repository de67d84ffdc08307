// A small avatar made by hand: two bones in a row, three vertices, one action, one corrective.
import { AvatarData } from "../src/data";
import type { Block, PageData } from "../src/schema";

type Values = Float32Array | Uint16Array | Int16Array | Uint8Array;

const TYPES = new Map<unknown, Block["type"]>([
	[Float32Array, "float32"],
	[Uint16Array, "uint16"],
	[Int16Array, "int16"],
	[Uint8Array, "uint8"],
]);

export class Packer {
	private readonly bytes: number[] = [];

	add(values: Values, shape: readonly number[], scale = 1): Block {
		const offset = this.bytes.length;
		this.bytes.push(...new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
		while (this.bytes.length % 4) this.bytes.push(0);
		return { type: TYPES.get(values.constructor)!, shape, offset, scale };
	}

	packed(): Uint8Array {
		return Uint8Array.from(this.bytes);
	}
}

const f = (...values: number[]) => Float32Array.from(values);
const u8 = (...values: number[]) => Uint8Array.from(values);
const u16 = (...values: number[]) => Uint16Array.from(values);

/** Root at the origin, child one metre above. Vertices: on the root, on the child, and half way with half weights. */
export function smallAvatar(change: (page: PageData) => PageData = (page) => page): AvatarData {
	const pack = new Packer();
	const quarter = Math.round((Math.PI / 2 / (2 * Math.PI)) * 32767);
	const page: PageData = {
		schema_version: 2,
		unpacked_bytes: 0,
		notice: { title: "small", authors: [], copyright: "", consent: "", permissions: "", made_with: "" },
		bone_names: ["root", "child"],
		bone_parents: [-1, 0],
		joints_rest_m: pack.add(f(0, 0, 0, 0, 1, 0), [2, 3]),
		humans: [
			{ human: "hips", bone: 0 },
			{ human: "head", bone: 1 },
		],
		floor_m: -0.1,
		actions: ["jawOpen", "cheekPuff"],
		presets: [],
		groups: [],
		splats: null,
		mesh: {
			vertices_rest_m: pack.add(f(0, 0.5, 0, 0, 2, 0, 1, 1, 0), [3, 3]),
			colors: pack.add(u8(255, 0, 0, 0, 255, 0, 51, 102, 204), [3, 3], 1 / 255),
			faces: pack.add(u16(0, 1, 2), [1, 3]),
			texture: null,
			skin: {
				joints: pack.add(u8(0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0), [3, 4]),
				weights: pack.add(u16(65535, 0, 0, 0, 65535, 0, 0, 0, 32768, 32767, 0, 0), [3, 4], 1 / 65535),
				morphs: [{ action: 0, indices: pack.add(u16(1), [1]), deltas_m: pack.add(f(0, 0.5, 0), [1, 3]) }],
				nodes: pack.add(u16(0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0), [3, 4]),
				node_weights: pack.add(u16(65535, 0, 0, 0, 65535, 0, 0, 0, 32768, 32767, 0, 0), [3, 4], 1 / 65535),
			},
		},
		correctives: {
			turn_bones: [1],
			up_bones: [0],
			feature_map: pack.add(f(0, 0, 2, 0, 0, 0), [1, 6]),
			feature_mean: pack.add(f(0, 0, 0, 0, 0, 0), [6]),
			lowest: pack.add(f(-1), [1]),
			highest: pack.add(f(1.2), [1]),
			reach: 10,
			offsets_m: pack.add(f(0.1, 0, 0, 0, 0, 0.2), [1, 2, 3]),
			shades: pack.add(f(-0.5, 3), [1, 2]),
		},
		motions: [
			{
				name: "nod",
				fps_hz: 10,
				frames: 2,
				rotvecs: pack.add(Int16Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, quarter), [2, 2, 3], (2 * Math.PI) / 32767),
				translation_m: pack.add(f(0, 0, 0, 0, 0, 2), [2, 3]),
				expression: pack.add(u8(0, 0, 255, 0), [2, 2], 1 / 255),
			},
		],
	};
	const bytes = pack.packed();
	return new AvatarData(change({ ...page, unpacked_bytes: bytes.length }), bytes);
}

export function near(found: ArrayLike<number>, wanted: readonly number[], tolerance = 1e-4): void {
	if (found.length !== wanted.length) throw new Error(`${found.length} values, ${wanted.length} wanted`);
	wanted.forEach((value, i) => {
		if (!(Math.abs(found[i] - value) <= tolerance)) {
			throw new Error(`value ${i} is ${found[i]}, wanted ${value} (${Array.from(found)})`);
		}
	});
}
