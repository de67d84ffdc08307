// Splats skinned on the graphics card: a Spark generator that makes each splat of the moment from rest data, the bones
// and the changes of this frame. Spark then sorts and draws them.
import { dyno, SplatGenerator } from "@sparkjsdev/spark";
import * as THREE from "three";
import type { Body } from "./body";
import type { AvatarData } from "./data";
import type { PageSplats } from "./schema";

const TEXELS = 6; // of rest data for each splat
const PER_ROW = 256; // splats in a row of the textures
const HARMONICS_PER_ROW = 128; // in a row of theirs, which has up to 15 texels for each: no side over 2048

// The whole of docs/avatar-format.md, "BODYDOUBLE_skinned_splats": positions blend linearly, turns as quaternions with the
// sign that is nearer to that of the first, which has the largest weight. Harmonics are looked up in the direction turned
// back to the rest pose. Colours and opacities are what the file says.
const SKIN_GLSL = `
void bodydoubleSplat(
	int i, sampler2D rest, sampler2D bones, sampler2D changes,
	vec3 eye, sampler2D harmonics,
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
	blended = normalize(blended);
	quaternion = quatQuat(blended, turn);
	scales = size.xyz;
	#if HARMONICS > 0
	vec3 rest_view = quatVec(vec4(-blended.xyz, blended.w), normalize(moved - eye));
	float basis[HARMONICS];
	bodydoubleBasis(rest_view, basis);
	ivec2 first_texel = ivec2((i % ${HARMONICS_PER_ROW}) * HARMONICS, i / ${HARMONICS_PER_ROW});
	for (int k = 0; k < HARMONICS; k++) {
		color += basis[k] * texelFetch(harmonics, first_texel + ivec2(k, 0), 0).rgb;
	}
	#endif
	rgba = vec4(max(color * (1.0 + change.w), vec3(0.0)), place.w);
}
`;

/** The real spherical harmonics above degree 0 as GLSL, in the order and with the signs of `render.sh`. */
const BASIS: readonly string[] = [
	"-0.4886025119 * d.y",
	"0.4886025119 * d.z",
	"-0.4886025119 * d.x",
	"1.0925484306 * d.x * d.y",
	"-1.0925484306 * d.y * d.z",
	"0.3153915653 * (2.0 * d.z * d.z - d.x * d.x - d.y * d.y)",
	"-1.0925484306 * d.x * d.z",
	"0.5462742153 * (d.x * d.x - d.y * d.y)",
	"-0.5900435899 * d.y * (3.0 * d.x * d.x - d.y * d.y)",
	"2.8906114426 * d.x * d.y * d.z",
	"-0.4570457995 * d.y * (4.0 * d.z * d.z - d.x * d.x - d.y * d.y)",
	"0.3731763326 * d.z * (2.0 * d.z * d.z - 3.0 * d.x * d.x - 3.0 * d.y * d.y)",
	"-0.4570457995 * d.x * (4.0 * d.z * d.z - d.x * d.x - d.y * d.y)",
	"1.4453057213 * d.z * (d.x * d.x - d.y * d.y)",
	"-0.5900435899 * d.x * (d.x * d.x - 3.0 * d.y * d.y)",
];

function basisGlsl(count: number): string {
	const lines = BASIS.slice(0, count).map((term, k) => `\tbasis[${k}] = ${term};`);
	const body = count ? `void bodydoubleBasis(vec3 d, out float basis[HARMONICS]) {\n${lines.join("\n")}\n}` : "";
	return `#define HARMONICS ${count}\n${body}\n`;
}

/** The splats of an avatar in the scene. */
export class SkinnedSplats {
	readonly object: SplatGenerator;
	private readonly bones: THREE.DataTexture;
	private readonly changes: THREE.DataTexture;
	private readonly eye = new THREE.Vector3();

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
			generator: generator(rest, this.bones, this.changes, this.eye, harmonicsOf(data, page)),
		});
	}

	/** Where the splats made from now on are seen from: colours may depend on it. */
	lookFrom(eye: THREE.Vector3): void {
		this.eye.copy(eye);
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

interface Harmonics {
	/** For each splat, above degree 0; 0 where it looks alike from everywhere. */
	readonly count: number;
	readonly texture: THREE.DataTexture;
}

function harmonicsOf(data: AvatarData, page: PageSplats): Harmonics {
	const count = page.harmonics?.shape[1] ?? 0;
	if (!page.harmonics || count > BASIS.length) return { count: 0, texture: floatTexture(1, 1, new Float32Array(4)) };
	const values = data.floats(page.harmonics);
	const rows = Math.ceil(page.count / HARMONICS_PER_ROW);
	const texels = new Float32Array(4 * count * HARMONICS_PER_ROW * rows);
	for (let texel = 0; texel < count * page.count; texel++) {
		texels.set(values.subarray(3 * texel, 3 * texel + 3), 4 * texel); // rows follow each other without a gap
	}
	return { count, texture: floatTexture(count * HARMONICS_PER_ROW, rows, texels) };
}

function generator(
	rest: THREE.DataTexture,
	bones: THREE.DataTexture,
	changes: THREE.DataTexture,
	eye: THREE.Vector3,
	harmonics: Harmonics,
) {
	return dyno.dynoBlock({ index: "int" }, { gsplat: dyno.Gsplat }, ({ index }) => {
		const made = dyno.dyno({
			inTypes: {
				index: "int",
				rest: "sampler2D",
				bones: "sampler2D",
				changes: "sampler2D",
				eye: "vec3",
				harmonics: "sampler2D",
			},
			outTypes: { gsplat: dyno.Gsplat },
			inputs: {
				index: index!,
				rest: new dyno.DynoSampler2D({ key: "bodydoubleRest", value: rest }),
				bones: new dyno.DynoSampler2D({ key: "bodydoubleBones", value: bones }),
				changes: new dyno.DynoSampler2D({ key: "bodydoubleChanges", value: changes }),
				eye: new dyno.DynoVec3({ key: "bodydoubleEye", value: eye }),
				harmonics: new dyno.DynoSampler2D({ key: "bodydoubleHarmonics", value: harmonics.texture }),
			},
			globals: () => [dyno.defineGsplat, basisGlsl(harmonics.count) + SKIN_GLSL],
			statements: ({ inputs, outputs }) => {
				const { gsplat } = outputs;
				return [
					`${gsplat}.flags = GSPLAT_FLAG_ACTIVE;`,
					`${gsplat}.index = ${inputs.index};`,
					`bodydoubleSplat(${inputs.index}, ${inputs.rest}, ${inputs.bones}, ${inputs.changes},`,
					`  ${inputs.eye}, ${inputs.harmonics},`,
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
