// What draws the double. Two of them: the graphics card (splats or mesh), and plain 2D canvas (mesh) where there is none.
import type * as THREE from "three";

export type View = "splats" | "mesh";
export type Rgb = readonly [number, number, number];

export interface Snapshot {
	readonly width: number;
	readonly height: number;
	/** sRGB in [0, 1]; null leaves it transparent. */
	readonly background: Rgb | null;
}

export interface Stage {
	readonly kind: "webgl2" | "canvas";
	readonly canvas: HTMLCanvasElement;
	/** Whether it can draw this at all. */
	can(view: View): boolean;
	setView(view: View): void;
	/** False while the pose before is still on its way to the screen: a new one would come too early. */
	ready(): boolean;
	/** Size of the canvas on the page, and pixels of the picture for each of the page's. */
	resize(width: number, height: number, density: number): void;
	/** The body has a new pose. */
	bodyChanged(): void;
	/** Where the soft shadow lies, or none. */
	setGround(place: { x: number; y: number; z: number; radius: number } | null): void;
	draw(camera: THREE.PerspectiveCamera): void;
	/** A picture of exactly this size, as a data URL, with everything in its final order. */
	snapshot(camera: THREE.PerspectiveCamera, wanted: Snapshot): Promise<string>;
}
