// The mesh in the pose of the body: places and colours of its vertices.
import type { Body } from "./body";
import type { AvatarData } from "./data";
import type { PageMesh } from "./schema";
import { MAX_SHADE } from "./skin";

/** A picture laid over the mesh, as pixels. */
export interface Texture {
	/** For each vertex; (0, 0) is the top left corner. */
	readonly uv: Float32Array;
	readonly picture: { readonly width: number; readonly height: number; readonly data: Uint8ClampedArray<ArrayBuffer> };
}

/** Unpacks the texture of the mesh, where it has one. */
export async function readTexture(data: AvatarData): Promise<Texture | null> {
	const page = data.page.mesh?.texture;
	if (!page) return null;
	const blob = new Blob([data.bytesOf(page.picture)], { type: "image/jpeg" });
	const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
	const canvas = document.createElement("canvas");
	[canvas.width, canvas.height] = [bitmap.width, bitmap.height];
	const context = canvas.getContext("2d", { willReadFrequently: true });
	if (!context) return null; // then the vertices' own colours are shown
	context.drawImage(bitmap, 0, 0);
	return { uv: data.floats(page.uv), picture: context.getImageData(0, 0, bitmap.width, bitmap.height) };
}

export class PosedSurface {
	readonly places: Float32Array;
	/** Of the vertices; for a textured mesh the factors of the texture's colours. */
	readonly colors: Float32Array;
	readonly faces: Uint32Array;
	private readonly rest: Float32Array;
	private readonly restColors: Float32Array;

	constructor(
		data: AvatarData,
		page: PageMesh,
		private readonly body: Body,
		readonly texture: Texture | null = null,
	) {
		this.rest = data.floats(page.vertices_rest_m);
		this.restColors = data.floats(page.colors);
		if (texture) this.restColors.fill(1);
		this.faces = data.integers(page.faces);
		this.places = this.rest.slice();
		this.colors = this.restColors.slice();
	}

	/** Follows the body (`Body.update` with the mesh). */
	update(): void {
		const skin = this.body.meshSkin!;
		skin.points(this.rest, this.body.skeleton.rows, this.places);
		const { colors, restColors } = this;
		for (let i = 0; i < colors.length; i++) {
			const shade = skin.changes[4 * Math.floor(i / 3) + 3];
			colors[i] = Math.min(Math.max(restColors[i] * (1 + shade), 0), this.texture ? 1 + MAX_SHADE : 1);
		}
	}
}
