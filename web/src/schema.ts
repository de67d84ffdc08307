// Made from src/bodydouble/avatar/export/page_schema.py by scripts/make_page_schema.py: change it there.

export const SCHEMA_VERSION = 2;

/** A tensor in the page's binary data: little endian, row by row, starting at a multiple of 4 bytes. */
export interface Block {
	readonly type: "float32" | "float16" | "int8" | "int16" | "uint8" | "uint16" | "uint32";
	readonly shape: readonly number[];
	readonly offset: number;
	readonly scale: number;
}

/** One facial action as sparse offsets. */
export interface PageMorph {
	readonly action: number;
	readonly indices: Block;
	readonly deltas_m: Block;
}

/** How elements follow bones, and the pattern nodes of the correctives. */
export interface PageSkin {
	readonly joints: Block;
	readonly weights: Block;
	readonly morphs: readonly PageMorph[];
	readonly nodes: Block | null;
	readonly node_weights: Block | null;
}

/** Gaussians in the rest pose. */
export interface PageSplats {
	readonly count: number;
	readonly means_rest_m: Block;
	readonly quats_xyzw: Block;
	readonly scales_m: Block;
	readonly opacities: Block;
	readonly colors: Block;
	readonly harmonics: Block | null;
	readonly skin: PageSkin;
}

/** Colours laid over a mesh. */
export interface PageTexture {
	readonly uv: Block;
	readonly picture: Block;
}

/** Triangles in the rest pose. */
export interface PageMesh {
	readonly vertices_rest_m: Block;
	readonly colors: Block;
	readonly faces: Block;
	readonly texture: PageTexture | null;
	readonly skin: PageSkin;
}

/** Pose-dependent correctives, as in docs/avatar-format.md. */
export interface PageCorrectives {
	readonly turn_bones: readonly number[];
	readonly up_bones: readonly number[];
	readonly feature_map: Block;
	readonly feature_mean: Block;
	readonly lowest: Block;
	readonly highest: Block;
	readonly reach: number;
	readonly offsets_m: Block;
	readonly shades: Block;
}

/** A clip on the avatar's rig. */
export interface PageMotion {
	readonly name: string;
	readonly fps_hz: number;
	readonly frames: number;
	readonly rotvecs: Block;
	readonly translation_m: Block;
	readonly expression: Block;
}

/** A facial expression by name. */
export interface PagePreset {
	readonly name: string;
	readonly strengths: readonly (readonly [number, number])[];
}

/** Facial actions that belong together. */
export interface PageGroup {
	readonly name: string;
	readonly actions: readonly number[];
}

/** A bone that a slider turns: its name as a human's bone and its index. */
export interface PageJoint {
	readonly human: string;
	readonly bone: number;
}

/** Whose double this is, and what may be done with it. */
export interface PageNotice {
	readonly title: string;
	readonly authors: readonly string[];
	readonly copyright: string;
	readonly consent: string;
	readonly permissions: string;
	readonly made_with: string;
}

/** Everything the page knows of one avatar. */
export interface PageData {
	readonly schema_version: number;
	readonly unpacked_bytes: number;
	readonly notice: PageNotice;
	readonly bone_names: readonly string[];
	readonly bone_parents: readonly number[];
	readonly joints_rest_m: Block;
	readonly humans: readonly PageJoint[];
	readonly floor_m: number;
	readonly actions: readonly string[];
	readonly presets: readonly PagePreset[];
	readonly groups: readonly PageGroup[];
	readonly splats: PageSplats | null;
	readonly mesh: PageMesh | null;
	readonly correctives: PageCorrectives | null;
	readonly motions: readonly PageMotion[];
}
