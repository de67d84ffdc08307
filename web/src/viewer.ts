// The double in time: which clip plays, what the visitor changes, where the camera is, when to draw.
import * as THREE from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { type Body, Clip } from "./body";
import { distanceFor, type Extent, extentOf, targetHeight } from "./framing";
import type { Rgb, Stage, View } from "./stage";

const FOCAL_HEIGHTS = 1.6; // a mild telephoto, as in portraits
const ELEVATION = (6 * Math.PI) / 180;
const FACE_M = [0, 0.07, 0.05] as const; // from the head's joint to the middle of the face, in the head's axes
const FOLLOW_S = 0.35;
const EASE_S = 0.09; // of expressions
const TURN_S = 12; // of the turntable
const PICTURE_PX = 2048; // longer side of a saved picture, about
const SLOW_MS = 45;
const FAST_MS = 20;

export interface Shot {
	readonly width: number;
	readonly height: number;
	readonly eye?: readonly [number, number, number];
	readonly target?: readonly [number, number, number];
	/** Focal length in pixels of this picture. */
	readonly focalPx?: number;
	readonly background?: Rgb | null;
}

export interface Stats {
	readonly frames: number;
	readonly frameMs: number;
	readonly density: number;
	readonly stage: string;
}

export class Viewer {
	readonly clips: readonly Clip[];
	readonly camera = new THREE.PerspectiveCamera((2 * Math.atan(0.5 / FOCAL_HEIGHTS) * 180) / Math.PI, 1, 0.05, 100);
	clip: Clip | null;
	seconds = 0;
	/** Times as fast as the clip. */
	speed = 1;
	playing = false;
	turning = false;
	view: View;
	/** Called after every drawn frame. */
	onFrame: () => void = () => {};
	private readonly controls: OrbitControls;
	private readonly hips: number;
	private readonly head: number;
	private readonly feet: readonly [number, number];
	private closeUp = false;
	private posing = false;
	private readonly wantedExpression: Float32Array;
	private readonly center = new THREE.Vector3();
	private extent: Extent;
	private fixedPose: { rotvecs: readonly number[]; translation: readonly number[] } | null = null;
	private poseChanged = true;
	private wanted = true;
	private scheduled = false;
	private last = 0;
	private size = { width: 1, height: 1 };
	private quality = 1;
	private applied = 0;
	private easing = false;
	private sincePose = 0;
	private frames = 0;
	private frameMs = 16;

	constructor(
		readonly body: Body,
		readonly stage: Stage,
	) {
		this.clips = body.data.page.motions.map((motion) => new Clip(body.data, motion));
		this.clip = this.clips[0] ?? null;
		this.view = stage.can("splats") ? "splats" : "mesh";
		const bone = (human: string) => body.data.page.humans.find((h) => h.human === human)?.bone;
		this.hips = bone("hips") ?? 0;
		this.feet = [bone("leftFoot") ?? this.hips, bone("rightFoot") ?? this.hips];
		this.head = bone("head") ?? this.hips;
		this.wantedExpression = new Float32Array(body.addedExpression.length);
		this.controls = new OrbitControls(this.camera, stage.canvas);
		this.controls.enableDamping = true;
		this.controls.dampingFactor = 0.12;
		this.controls.minDistance = 0.25;
		this.controls.maxDistance = 12;
		this.controls.addEventListener("change", () => this.invalidate());
		this.extent = extentOf(body, this.clip, this.hips);
		this.resetCamera();
		document.addEventListener("visibilitychange", () => {
			this.last = 0; // time that nobody saw does not count
			this.invalidate();
		});
	}

	/** Asks for a frame. */
	invalidate(): void {
		this.wanted = true;
		if (this.scheduled || document.hidden) return;
		this.scheduled = true;
		requestAnimationFrame((now) => this.frame(now));
	}

	resize(width: number, height: number): void {
		const before = this.size;
		this.size = { width, height };
		this.camera.aspect = width / height;
		this.camera.updateProjectionMatrix();
		this.applyDensity();
		const turned = before.width / before.height < 0.9 !== width / height < 0.9; // a phone, or the first size
		if ((before.width === 1 && before.height === 1) || (turned && !this.closeUp)) this.resetCamera();
		this.invalidate();
	}

	get density(): number {
		// What stands still is drawn as finely as the screen can.
		return Math.min(window.devicePixelRatio || 1, 2) * (this.playing || this.turning ? this.quality : 1);
	}

	stats(): Stats {
		return { frames: this.frames, frameMs: this.frameMs, density: this.density, stage: this.stage.kind };
	}

	play(): void {
		this.fixedPose = null;
		this.playing = this.clip !== null;
		this.last = 0;
		this.invalidate();
	}

	pause(): void {
		this.playing = false;
		this.invalidate();
	}

	/** Chooses a clip (null: the rest pose), from its beginning. */
	choose(clip: Clip | null): void {
		this.fixedPose = null;
		this.clip = clip;
		this.seconds = 0;
		this.playing = this.playing && clip !== null;
		this.extent = extentOf(this.body, clip, this.hips);
		if (!this.closeUp) this.controls.target.y = targetHeight(this.extent, this.camera.aspect);
		this.snapCenter();
		this.invalidatePose();
	}

	seek(seconds: number): void {
		this.fixedPose = null;
		this.seconds = seconds;
		this.invalidatePose();
	}

	/** A pose of one's own, until a clip is chosen, played or moved. */
	setPose(rotvecs: readonly number[], translation: readonly number[]): void {
		this.playing = false;
		this.body.poseFrom(rotvecs, translation); // refuses what does not fit
		this.fixedPose = { rotvecs, translation };
		this.invalidatePose();
	}

	/** Strength of actions by index; those not named become 0. */
	setExpression(strengths: ReadonlyMap<number, number>, immediately = false): void {
		this.wantedExpression.fill(0);
		for (const [action, value] of strengths) this.wantedExpression[action] = Math.min(1, Math.max(0, value));
		if (immediately) this.body.addedExpression.set(this.wantedExpression);
		this.invalidatePose();
	}

	setAction(action: number, strength: number): void {
		this.wantedExpression[action] = strength;
		this.invalidatePose();
	}

	strengthOf(action: number): number {
		return this.wantedExpression[action];
	}

	/** Turns a bone by a rotation vector on top of the clip. */
	setTurn(bone: number, turn: readonly [number, number, number]): void {
		if (turn.every((x) => x === 0)) this.body.addedTurns.delete(bone);
		else this.body.addedTurns.set(bone, turn);
		this.invalidatePose();
	}

	setView(view: View): boolean {
		if (!this.stage.can(view)) return false;
		this.view = view;
		this.stage.setView(view);
		this.applyDensity();
		this.invalidatePose();
		return true;
	}

	setTurning(on: boolean): void {
		this.turning = on;
		this.last = 0;
		this.invalidate();
	}

	/** In front of the body, with all of the clip in the picture. */
	resetCamera(): void {
		this.closeUp = false;
		const middle = targetHeight(this.extent, this.camera.aspect);
		const fov = (this.camera.fov * Math.PI) / 180;
		const distance = distanceFor(this.extent, fov, this.camera.aspect);
		this.snapCenter();
		this.controls.target.set(this.center.x, middle, this.center.z);
		this.camera.position.set(
			this.center.x,
			middle + distance * Math.sin(ELEVATION),
			this.center.z + distance * Math.cos(ELEVATION),
		);
		this.controls.update();
		this.invalidatePose();
	}

	/** In front of the face, and with it from now on. */
	lookAtFace(): void {
		this.closeUp = true;
		this.snapCenter();
		const distance = 0.24 / Math.tan((this.camera.fov * Math.PI) / 360);
		this.controls.target.copy(this.center);
		this.camera.position.copy(this.center).add(new THREE.Vector3(0, 0.02, distance));
		this.controls.update();
		this.invalidatePose();
	}

	/** Moves the camera around the body by angles in radians, and nearer by a factor. */
	orbit(azimuth: number, elevation: number, zoom = 1): void {
		const offset = this.camera.position.clone().sub(this.controls.target);
		const place = new THREE.Spherical().setFromVector3(offset);
		place.theta -= azimuth;
		place.phi = Math.min(Math.PI - 0.05, Math.max(0.05, place.phi - elevation));
		place.radius = Math.min(this.controls.maxDistance, Math.max(this.controls.minDistance, place.radius / zoom));
		this.camera.position.setFromSpherical(place).add(this.controls.target);
		this.controls.update();
		this.invalidate();
	}

	/** What the visitor sees, without the page's background, larger than it is shown where the screen is coarse. */
	picture(): Promise<string> {
		const { width, height } = this.size;
		const scale = Math.max(1, Math.min(2, PICTURE_PX / Math.max(width, height)));
		return this.snapshot({ width: Math.round(width * scale), height: Math.round(height * scale) });
	}

	/** A picture from a camera of one's own, or from the page's. */
	async snapshot(shot: Shot): Promise<string> {
		const camera = this.camera.clone();
		camera.aspect = shot.width / shot.height;
		if (shot.focalPx) camera.fov = (2 * Math.atan(shot.height / 2 / shot.focalPx) * 180) / Math.PI;
		if (shot.eye) camera.position.set(...shot.eye);
		if (shot.target) camera.lookAt(...shot.target);
		camera.updateProjectionMatrix();
		if (this.posing) throw new Error("One snapshot at a time: await the one before.");
		this.posing = true; // no frame comes between
		try {
			this.poseChanged = true;
			this.updateBody(0);
			this.stage.setGround(null);
			const { width, height, background = null } = shot;
			return await this.stage.snapshot(camera, { width, height, background });
		} finally {
			this.posing = false;
			this.invalidate();
		}
	}

	private invalidatePose(): void {
		this.poseChanged = true;
		this.invalidate();
	}

	private applyDensity(): void {
		this.applied = this.density;
		this.stage.resize(this.size.width, this.size.height, this.density);
	}

	private frame(now: number): void {
		this.scheduled = false;
		if (document.hidden || this.posing) return;
		const elapsed = this.last ? (now - this.last) / 1000 : 0;
		const animated = this.playing || this.turning;
		if (animated && this.last) this.judgeSpeed(now - this.last);
		this.last = animated ? now : 0;
		this.wanted = false;
		this.advance(Math.min(elapsed, 0.25));
		this.sincePose += elapsed;
		if (this.applied !== this.density) this.applyDensity();
		if (this.stage.ready()) {
			this.easing = this.updateBody(this.sincePose || 1 / 60);
			if (this.easing) this.last = now; // it takes its time, not its number of frames
			this.follow(this.sincePose);
			this.sincePose = 0;
			const feet = this.jointAt(this.feet[0]).add(this.jointAt(this.feet[1])).multiplyScalar(0.5);
			this.stage.setGround({ x: feet.x, y: this.extent.floor, z: feet.z, radius: 0.55 });
		}
		if (this.turning) this.orbit((elapsed * 2 * Math.PI) / TURN_S, 0);
		this.controls.update();
		this.stage.draw(this.camera);
		this.frames++;
		this.onFrame();
		if (this.easing) this.poseChanged = true;
		if (this.wanted || this.playing || this.turning || this.poseChanged) this.invalidate();
	}

	private advance(elapsed: number): void {
		if (!this.playing || !this.clip) return;
		this.seconds = (this.seconds + elapsed * this.speed) % this.clip.seconds;
		this.poseChanged = true;
	}

	/** Brings the body to the moment; true while an expression is still on its way. */
	private updateBody(elapsed: number): boolean {
		if (!this.poseChanged) return false;
		this.poseChanged = false;
		const share = elapsed > 0 ? 1 - Math.exp(-elapsed / EASE_S) : 1;
		const shown = this.body.addedExpression;
		let easing = false;
		for (let a = 0; a < shown.length; a++) {
			const gap = this.wantedExpression[a] - shown[a];
			if (Math.abs(gap) < 0.004) shown[a] = this.wantedExpression[a];
			else {
				shown[a] += share * gap;
				easing = true;
			}
		}
		if (this.fixedPose) this.body.poseFrom(this.fixedPose.rotvecs, this.fixedPose.translation);
		else this.body.pose(this.clip, this.seconds);
		this.body.update({ splats: this.view === "splats", mesh: this.view === "mesh" });
		this.stage.bodyChanged();
		return easing;
	}

	private jointAt(bone: number): THREE.Vector3 {
		return new THREE.Vector3().fromArray(this.body.skeleton.joints, 3 * bone);
	}

	/** What the camera goes with: the hips over the ground, or the face. */
	private goal(): THREE.Vector3 {
		if (this.closeUp) {
			const q = new THREE.Quaternion().fromArray(this.body.skeleton.worldQuats, 4 * this.head);
			return this.jointAt(this.head).add(new THREE.Vector3(...FACE_M).applyQuaternion(q));
		}
		return this.jointAt(this.hips).setY(this.center.y);
	}

	/** The camera goes where its goal goes, a little later. */
	private follow(elapsed: number): void {
		this.shift(this.goal().sub(this.center), 1 - Math.exp(-elapsed / FOLLOW_S));
	}

	private snapCenter(): void {
		if (!this.fixedPose) {
			this.body.pose(this.clip, this.seconds);
			this.body.update({ splats: false, mesh: false });
		}
		this.shift(this.goal().sub(this.center), 1);
	}

	private shift(way: THREE.Vector3, share: number): void {
		const step = way.multiplyScalar(share);
		this.center.add(step);
		this.camera.position.add(step);
		this.controls.target.add(step);
	}

	/** Fewer pixels where frames take long, more again where they don't. */
	private judgeSpeed(ms: number): void {
		if (ms > 3000) return; // a tab that was away
		this.frameMs += 0.08 * (Math.min(ms, 400) - this.frameMs);
		const before = this.quality;
		if (this.frameMs > SLOW_MS) this.quality = Math.max(0.5, this.quality * 0.85);
		else if (this.frameMs < FAST_MS) this.quality = Math.min(1, this.quality * 1.1);
		if (this.quality === before) return;
		this.frameMs = (SLOW_MS + FAST_MS) / 2; // see what it brings before the next step
		this.applyDensity();
	}
}
