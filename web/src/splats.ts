// Splats skinned on the graphics card: a Spark generator that makes each splat of the moment from rest data, the bones
// and the changes of this frame. Spark then sorts and draws them.
import { dyno, SplatGenerator } from "@sparkjsdev/spark";
import * as THREE from "three";
import type { Body } from "./body";
import type { AvatarData } from "./data";
import type { PageSplats } from "./schema";

const TEXELS = 6; // of rest data for each splat
const PER_ROW = 256; // splats in a row of the textures

// The whole of docs/avatar-format.md, "BODYDOUBLE_skinned_splats": positions blend linearly, turns as quaternions with the
// sign that is nearer to that of the first, which has the largest weight. Colours and opacities are what the file says.
const SKIN_GLSL = `
void bodydoubleSplat(
	int i, sampler2D rest, sampler2D bones, sampler2D changes,
	out vec3 center, out vec3 scales, out vec4 quaternion, out vec4 rgba
) {
	ivec2 at = ivec2((i % ${PER_ROW}) * ${TEXELS}, i / ${PER_ROW});
	vec4 place = texelFetch(rest, at, 0);
	vec4 turn = texelFetch(rest, at + ivec2(1, 0), 0);
	vec4 size = texelFetch(rest, at + ivec2(2, 0), 0);
	vec4 joints = texelFetch(rest, at + ivec2(3, 0), 0);
	vec4 weights = texelFetch(rest, at + ivec2(4, 0), 0);
	vec3 color = texelFetch(rest, at + ivec2(5, 0), 0).rgb;
	vec4 change = texelFetch(changes, ivec2(i % ${PER_ROW}, i / ${PER_ROW}), 0);
	vec4 p = vec4(place.xyz + change.xyz, 1.0);
	vec3 moved = vec3(0.0);
	vec4 first = texelFetch(bones, ivec2(3, int(joints.x)), 0);
	vec4 blended = vec4(0.0);
	for (int k = 0; k < 4; k++) {
		if (weights[k] > 0.0) {
			int b = int(joints[k] + 0.5);
			moved += weights[k] * vec3(
				dot(texelFetch(bones, ivec2(0, b), 0), p),
				dot(texelFetch(bones, ivec2(1, b), 0), p),
				dot(texelFetch(bones, ivec2(2, b), 0), p)
			);
			vec4 q = texelFetch(bones, ivec2(3, b), 0);
			blended += weights[k] * (dot(q, first) < 0.0 ? -q : q);
		}
	}
	center = moved;
	quaternion = quatQuat(normalize(blended), turn);
	scales = size.xyz;
	rgba = vec4(max(color * (1.0 + change.w), vec3(0.0)), place.w);
}
`;

/** The splats of an avatar in the scene. */
export class SkinnedSplats {
	readonly object: SplatGenerator;
	private readonly bones: THREE.DataTexture;
	private readonly changes: THREE.DataTexture;

	constructor(
		data: AvatarData,
		page: PageSplats,
		private readonly body: Body,
	) {
		const rows = Math.ceil(page.count / PER_ROW);
		const rest = floatTexture(PER_ROW * TEXELS, rows, restTexels(data, page, body, rows));
		this.bones = floatTexture(4, body.skeleton.count, new Float32Array(16 * body.skeleton.count));
		this.changes = floatTexture(PER_ROW, rows, new Float32Array(4 * PER_ROW * rows));
		this.object = new SplatGenerator({
			numSplats: page.count,
			generator: generator(rest, this.bones, this.changes),
		});
	}

	/** Sends the body's pose to the graphics card. */
	update(): void {
		const { bones, changes, body } = this;
		const { rows, worldQuats, count } = body.skeleton;
		const texels = bones.image.data as Float32Array;
		for (let b = 0; b < count; b++) {
			texels.set(rows.subarray(12 * b, 12 * b + 12), 16 * b);
			texels.set(worldQuats.subarray(4 * b, 4 * b + 4), 16 * b + 12);
		}
		(changes.image.data as Float32Array).set(body.splatSkin!.changes);
		bones.needsUpdate = true;
		changes.needsUpdate = true;
		// A new mapping, though none of it changed: Spark then shows the new places together with their own order. Else they
		// would be drawn in the order of an older pose, which tears surfaces apart where frames are slow.
		this.object.updateMappingVersion();
	}
}

function generator(rest: THREE.DataTexture, bones: THREE.DataTexture, changes: THREE.DataTexture) {
	return dyno.dynoBlock({ index: "int" }, { gsplat: dyno.Gsplat }, ({ index }) => {
		const made = dyno.dyno({
			inTypes: { index: "int", rest: "sampler2D", bones: "sampler2D", changes: "sampler2D" },
			outTypes: { gsplat: dyno.Gsplat },
			inputs: {
				index: index!,
				rest: new dyno.DynoSampler2D({ key: "bodydoubleRest", value: rest }),
				bones: new dyno.DynoSampler2D({ key: "bodydoubleBones", value: bones }),
				changes: new dyno.DynoSampler2D({ key: "bodydoubleChanges", value: changes }),
			},
			globals: () => [dyno.defineGsplat, SKIN_GLSL],
			statements: ({ inputs, outputs }) => {
				const { gsplat } = outputs;
				return [
					`${gsplat}.flags = GSPLAT_FLAG_ACTIVE;`,
					`${gsplat}.index = ${inputs.index};`,
					`bodydoubleSplat(${inputs.index}, ${inputs.rest}, ${inputs.bones}, ${inputs.changes},`,
					`  ${gsplat}.center, ${gsplat}.scales, ${gsplat}.quaternion, ${gsplat}.rgba);`,
				];
			},
		});
		return { gsplat: made.outputs.gsplat };
	});
}

function restTexels(data: AvatarData, page: PageSplats, body: Body, rows: number): Float32Array {
	const texels = new Float32Array(4 * TEXELS * PER_ROW * rows);
	const skin = body.splatSkin!;
	const means = data.floats(page.means_rest_m);
	const quats = data.floats(page.quats_xyzw);
	const scales = data.floats(page.scales_m);
	const opacities = data.floats(page.opacities);
	const colors = data.floats(page.colors);
	for (let i = 0; i < page.count; i++) {
		const at = 4 * TEXELS * i;
		texels.set(means.subarray(3 * i, 3 * i + 3), at);
		texels[at + 3] = opacities[i];
		texels.set(quats.subarray(4 * i, 4 * i + 4), at + 4);
		texels.set(scales.subarray(3 * i, 3 * i + 3), at + 8);
		texels.set(skin.joints.subarray(4 * i, 4 * i + 4), at + 12);
		texels.set(skin.weights.subarray(4 * i, 4 * i + 4), at + 16);
		texels.set(colors.subarray(3 * i, 3 * i + 3), at + 20);
	}
	return texels;
}

function floatTexture(width: number, height: number, values: Float32Array): THREE.DataTexture {
	const texture = new THREE.DataTexture(
		values as Float32Array<ArrayBuffer>,
		width,
		height,
		THREE.RGBAFormat,
		THREE.FloatType,
	);
	texture.internalFormat = "RGBA32F";
	texture.minFilter = THREE.NearestFilter;
	texture.magFilter = THREE.NearestFilter;
	texture.needsUpdate = true;
	return texture;
}
