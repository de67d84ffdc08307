// Drawing without WebGL: the mesh by a small z-buffer of its own, into a 2D canvas.
import * as THREE from "three";
import type { Body } from "./body";
import type { Snapshot, Stage, View } from "./stage";
import { PosedSurface, type Texture } from "./surface";

const MAX_PIXELS = 420_000; // what a processor fills without stutter

export class CanvasStage implements Stage {
	readonly kind = "canvas";
	readonly canvas = document.createElement("canvas");
	private readonly context: CanvasRenderingContext2D;
	private readonly surface: PosedSurface;

	constructor(body: Body, texture: Texture | null) {
		const { mesh } = body.data.page;
		if (!mesh) throw new Error("This double has no mesh, and the browser has no WebGL 2 for its splats.");
		const context = this.canvas.getContext("2d");
		if (!context) throw new Error("This browser can draw neither with WebGL 2 nor on a canvas.");
		this.context = context;
		this.surface = new PosedSurface(body.data, mesh, body, texture);
	}

	can(view: View): boolean {
		return view === "mesh";
	}

	setView(): void {}

	ready(): boolean {
		return true;
	}

	setGround(): void {}

	resize(width: number, height: number, density: number): void {
		const ratio = Math.min(density, Math.sqrt(MAX_PIXELS / Math.max(1, width * height)));
		this.canvas.width = Math.max(1, Math.round(width * ratio));
		this.canvas.height = Math.max(1, Math.round(height * ratio));
	}

	bodyChanged(): void {
		this.surface.update();
	}

	draw(camera: THREE.PerspectiveCamera): void {
		const { width, height } = this.canvas;
		camera.updateMatrixWorld();
		const matrix = new THREE.Matrix4().multiplyMatrices(camera.projectionMatrix, camera.matrixWorldInverse);
		const picture = this.context.createImageData(width, height);
		drawTriangles(this.surface, matrix.elements, picture);
		this.context.putImageData(picture, 0, 0);
	}

	async snapshot(camera: THREE.PerspectiveCamera, wanted: Snapshot): Promise<string> {
		const { canvas, context } = this;
		const size = [canvas.width, canvas.height] as const;
		[canvas.width, canvas.height] = [wanted.width, wanted.height];
		this.draw(camera);
		if (wanted.background) {
			context.globalCompositeOperation = "destination-over";
			context.fillStyle = `rgb(${wanted.background.map((c) => Math.round(255 * c)).join(" ")})`;
			context.fillRect(0, 0, wanted.width, wanted.height);
			context.globalCompositeOperation = "source-over";
		}
		const url = canvas.toDataURL("image/png");
		[canvas.width, canvas.height] = size;
		return url;
	}
}

interface Surface {
	readonly places: Float32Array;
	readonly colors: Float32Array;
	readonly faces: Uint32Array;
	readonly texture?: Texture | null;
}

interface Picture {
	readonly width: number;
	readonly height: number;
	readonly data: Uint8ClampedArray;
}

const WHITE = [255, 255, 255];

/** The nearest texel for shares of three corners. */
function texelAt(
	texture: Texture,
	u: number,
	v: number,
	t: number,
	a: number,
	b: number,
	c: number,
): ArrayLike<number> {
	const { uv, picture } = texture;
	const x = Math.floor((u * uv[2 * a] + v * uv[2 * b] + t * uv[2 * c]) * picture.width);
	const y = Math.floor((u * uv[2 * a + 1] + v * uv[2 * b + 1] + t * uv[2 * c + 1]) * picture.height);
	const clamp = (value: number, size: number) => Math.min(Math.max(value, 0), size - 1);
	const at = 4 * (clamp(y, picture.height) * picture.width + clamp(x, picture.width));
	return picture.data.subarray(at, at + 3);
}

/**
 * Draws triangles with a depth buffer, colours blended between corners; both sides show. Pixels that no triangle covers
 * stay as they are. `clip` is a matrix to clip space, column by column. Triangles that reach behind the eye are left out.
 */
export function drawTriangles(surface: Surface, clip: ArrayLike<number>, picture: Picture): void {
	const { places, colors, faces } = surface;
	const { width, height, data } = picture;
	const count = places.length / 3;
	const screen = new Float32Array(3 * count); // x, y in pixels, depth in [-1, 1]; depth 2 is behind the eye
	for (let i = 0; i < count; i++) {
		const [x, y, z] = [places[3 * i], places[3 * i + 1], places[3 * i + 2]];
		const w = clip[3] * x + clip[7] * y + clip[11] * z + clip[15];
		screen[3 * i] = ((clip[0] * x + clip[4] * y + clip[8] * z + clip[12]) / w + 1) * 0.5 * width;
		screen[3 * i + 1] = (1 - (clip[1] * x + clip[5] * y + clip[9] * z + clip[13]) / w) * 0.5 * height;
		screen[3 * i + 2] = w > 1e-4 ? (clip[2] * x + clip[6] * y + clip[10] * z + clip[14]) / w : 2;
	}
	const depths = new Float32Array(width * height).fill(1);
	for (let f = 0; f < faces.length; f += 3) {
		const [a, b, c] = [3 * faces[f], 3 * faces[f + 1], 3 * faces[f + 2]];
		if (screen[a + 2] > 1 || screen[b + 2] > 1 || screen[c + 2] > 1) continue;
		const [ax, ay, bx, by, cx, cy] = [screen[a], screen[a + 1], screen[b], screen[b + 1], screen[c], screen[c + 1]];
		const area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax);
		if (Math.abs(area) < 1e-9) continue;
		const x0 = Math.max(0, Math.ceil(Math.min(ax, bx, cx) - 0.5));
		const x1 = Math.min(width - 1, Math.floor(Math.max(ax, bx, cx) - 0.5));
		const y0 = Math.max(0, Math.ceil(Math.min(ay, by, cy) - 0.5));
		const y1 = Math.min(height - 1, Math.floor(Math.max(ay, by, cy) - 0.5));
		for (let y = y0; y <= y1; y++) {
			for (let x = x0; x <= x1; x++) {
				const [px, py] = [x + 0.5, y + 0.5];
				const u = ((bx - px) * (cy - py) - (by - py) * (cx - px)) / area;
				const v = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) / area;
				const t = 1 - u - v;
				if (u < 0 || v < 0 || t < 0) continue;
				const depth = u * screen[a + 2] + v * screen[b + 2] + t * screen[c + 2];
				const at = y * width + x;
				if (depth >= depths[at]) continue;
				depths[at] = depth;
				const texel = surface.texture ? texelAt(surface.texture, u, v, t, a / 3, b / 3, c / 3) : WHITE;
				for (let k = 0; k < 3; k++) {
					data[4 * at + k] = texel[k] * (u * colors[a + k] + v * colors[b + k] + t * colors[c + k]);
				}
				data[4 * at + 3] = 255;
			}
		}
	}
}
