// The mesh in the pose of the body: places and colours of its vertices.
import type { Body } from "./body";
import type { AvatarData } from "./data";
import type { PageMesh } from "./schema";

export class PosedSurface {
	readonly places: Float32Array;
	readonly colors: Float32Array;
	readonly faces: Uint32Array;
	private readonly rest: Float32Array;
	private readonly restColors: Float32Array;

	constructor(
		data: AvatarData,
		page: PageMesh,
		private readonly body: Body,
	) {
		this.rest = data.floats(page.vertices_rest_m);
		this.restColors = data.floats(page.colors);
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
			colors[i] = Math.min(Math.max(restColors[i] * (1 + shade), 0), 1);
		}
	}
}
