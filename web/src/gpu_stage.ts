// Drawing with WebGL 2: three.js for the mesh, Spark for the splats.
import { SparkRenderer } from "@sparkjsdev/spark";
import * as THREE from "three";
import type { Body } from "./body";
import { SkinnedSplats } from "./splats";
import type { Snapshot, Stage, View } from "./stage";
import { PosedSurface, type Texture } from "./surface";

// As the renderer of the Python program: a splat ends where its alpha falls below 1/255; 0.3 px^2 on the diagonal.
const MIN_ALPHA = 1 / 255;
const MAX_STD_DEV = Math.sqrt(2 * Math.log(255));
const BLUR_PX2 = 0.3;

THREE.ColorManagement.enabled = false; // all colours here are display values already

/** Whether the browser has WebGL 2. */
export function hasWebGl2(): boolean {
	try {
		const gl = document.createElement("canvas").getContext("webgl2");
		gl?.getExtension("WEBGL_lose_context")?.loseContext();
		return gl !== null;
	} catch {
		return false;
	}
}

export class GpuStage implements Stage {
	readonly kind = "webgl2";
	readonly canvas: HTMLCanvasElement;
	private readonly renderer: THREE.WebGLRenderer;
	private readonly scene = new THREE.Scene();
	private readonly spark: SparkRenderer | null = null;
	private readonly splats: SkinnedSplats | null = null;
	private readonly mesh: MeshOnStage | null = null;
	private readonly ground: THREE.Mesh;
	private readonly sortedFor = new THREE.Matrix4();
	private stale = true;
	private view: View = "mesh";

	constructor(body: Body, texture: Texture | null, onDirty: () => void) {
		this.renderer = new THREE.WebGLRenderer({ antialias: false, alpha: true, powerPreference: "high-performance" });
		this.canvas = this.renderer.domElement;
		this.renderer.setClearColor(0x000000, 0);
		const { splats, mesh } = body.data.page;
		if (splats) {
			this.splats = new SkinnedSplats(body.data, splats, body);
			this.spark = new SparkRenderer({
				renderer: this.renderer,
				onDirty,
				autoUpdate: false,
				preUpdate: false,
				accumExtSplats: true,
				enableLod: false,
				enableDriveLod: false,
				sortRadial: false,
				minSortIntervalMs: 0,
				maxStdDev: MAX_STD_DEV,
				minAlpha: MIN_ALPHA,
				preBlurAmount: BLUR_PX2,
				blurAmount: 0,
				maxPixelRadius: 4096,
				focalAdjustment: 1,
			});
			this.spark.frustumCulled = false;
			this.scene.add(this.spark, this.splats.object);
		}
		if (mesh) {
			this.mesh = new MeshOnStage(new PosedSurface(body.data, mesh, body, texture));
			this.scene.add(this.mesh.object);
		}
		this.ground = groundShadow();
		this.scene.add(this.ground);
		this.canvas.addEventListener("webglcontextrestored", onDirty);
		this.setView(splats ? "splats" : "mesh");
	}

	can(view: View): boolean {
		return view === "splats" ? this.splats !== null : this.mesh !== null;
	}

	ready(): boolean {
		return this.view !== "splats" || !this.spark?.sorting;
	}

	setView(view: View): void {
		this.view = view;
		const splats = view === "splats";
		if (this.spark && this.splats) {
			this.spark.visible = splats;
			this.splats.object.visible = splats;
		}
		if (this.mesh) this.mesh.object.visible = !splats;
	}

	resize(width: number, height: number, density: number): void {
		// Triangles have hard edges: a mesh gets two pixels for one, at least.
		const ratio = this.view === "mesh" ? Math.max(2, density) : density;
		this.renderer.setPixelRatio(ratio);
		this.renderer.setSize(width, height, false);
	}

	bodyChanged(): void {
		this.stale = true;
		if (this.view === "splats") this.splats?.update();
		else this.mesh?.update();
	}

	setGround(place: { x: number; y: number; z: number; radius: number } | null): void {
		this.ground.visible = place !== null;
		if (!place) return;
		this.ground.position.set(place.x, place.y, place.z);
		this.ground.scale.setScalar(place.radius);
	}

	draw(camera: THREE.PerspectiveCamera): void {
		camera.updateMatrixWorld();
		const moved = !this.sortedFor.equals(camera.matrixWorld);
		if (this.view === "splats" && this.spark && !this.spark.sorting && (this.stale || moved)) {
			// Sorting happens elsewhere and takes a frame or so; `onDirty` asks for another frame then, and what came
			// meanwhile is sorted with it. A frame that asks for nothing new must not sort, or it would never end.
			this.stale = false;
			this.sortedFor.copy(camera.matrixWorld);
			this.splats?.lookFrom(camera.position);
			void this.spark.update({ scene: this.scene, camera });
		}
		this.renderer.render(this.scene, camera);
	}

	async snapshot(camera: THREE.PerspectiveCamera, wanted: Snapshot): Promise<string> {
		const { renderer, spark } = this;
		const size = renderer.getSize(new THREE.Vector2());
		const ratio = renderer.getPixelRatio();
		renderer.setPixelRatio(1);
		renderer.setSize(wanted.width, wanted.height, false);
		if (wanted.background) renderer.setClearColor(new THREE.Color(...wanted.background), 1);
		try {
			camera.updateMatrixWorld();
			if (spark && this.view === "splats") await this.settle(camera, spark);
			renderer.render(this.scene, camera);
			return this.canvas.toDataURL("image/png");
		} finally {
			renderer.setClearColor(0x000000, 0);
			renderer.setPixelRatio(ratio);
			renderer.setSize(size.x, size.y, false);
		}
	}

	/** Waits until the splats on the card are those of the body, in the order of this camera. */
	private async settle(camera: THREE.PerspectiveCamera, spark: SparkRenderer): Promise<void> {
		const { renderer } = this;
		const idle = async () => {
			while (spark.sorting || spark.sortDirty) await new Promise((done) => setTimeout(done, 4));
		};
		await idle();
		// Spark 2.2 keeps the first order it ever got where a second arrives before anything was drawn: draw once.
		renderer.render(this.scene, camera);
		this.stale = true;
		this.splats?.lookFrom(camera.position);
		await spark.update({ scene: this.scene, camera });
		await idle();
	}
}

/** The triangles as three.js draws them, unlit: the colours hold the light of the video. */
class MeshOnStage {
	readonly object: THREE.Mesh;
	private readonly places: THREE.BufferAttribute;
	private readonly colors: THREE.BufferAttribute;

	constructor(private readonly surface: PosedSurface) {
		const geometry = new THREE.BufferGeometry();
		this.places = new THREE.BufferAttribute(surface.places, 3).setUsage(THREE.DynamicDrawUsage);
		this.colors = new THREE.BufferAttribute(surface.colors, 3).setUsage(THREE.DynamicDrawUsage);
		geometry.setAttribute("position", this.places);
		geometry.setAttribute("color", this.colors);
		if (surface.texture) geometry.setAttribute("uv", new THREE.BufferAttribute(surface.texture.uv, 2));
		geometry.setIndex(new THREE.BufferAttribute(surface.faces, 1));
		this.object = new THREE.Mesh(geometry, meshMaterial(surface.texture));
		this.object.frustumCulled = false;
	}

	update(): void {
		this.surface.update();
		this.places.needsUpdate = true;
		this.colors.needsUpdate = true;
	}
}

/** Colours as they are: three.js's own materials would take them for linear light. */
function meshMaterial(texture: Texture | null): THREE.Material {
	const defines: Record<string, string> = texture ? { TEXTURED: "" } : {};
	return new THREE.ShaderMaterial({
		defines,
		uniforms: { picture: { value: texture && textureOf(texture) } },
		vertexShader: `
attribute vec3 color;
varying vec3 c;
varying vec2 at;
void main() {
	c = color;
	#ifdef TEXTURED
	at = uv;
	#endif
	gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
}`,
		fragmentShader: `
uniform sampler2D picture;
varying vec3 c;
varying vec2 at;
void main() {
	#ifdef TEXTURED
	gl_FragColor = vec4(c * texture2D(picture, at).rgb, 1.0);
	#else
	gl_FragColor = vec4(c, 1.0);
	#endif
}`,
	});
}

function textureOf({ picture }: Texture): THREE.DataTexture {
	const made = new THREE.DataTexture(new Uint8Array(picture.data.buffer), picture.width, picture.height);
	made.magFilter = THREE.LinearFilter;
	made.minFilter = THREE.LinearMipmapLinearFilter;
	made.generateMipmaps = true;
	made.anisotropy = 4;
	made.needsUpdate = true;
	return made;
}

/** A soft dark disc under the feet. */
function groundShadow(): THREE.Mesh {
	const material = new THREE.ShaderMaterial({
		transparent: true,
		depthWrite: false,
		vertexShader:
			"varying vec2 p; void main() { p = uv * 2.0 - 1.0; gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0); }",
		fragmentShader:
			"varying vec2 p; void main() { float r = clamp(1.0 - length(p), 0.0, 1.0); gl_FragColor = vec4(0.0, 0.0, 0.0, 0.26 * r * r * (3.0 - 2.0 * r)); }",
	});
	const disc = new THREE.Mesh(new THREE.PlaneGeometry(2, 2).rotateX(-Math.PI / 2), material);
	disc.renderOrder = -1;
	disc.visible = false;
	return disc;
}
