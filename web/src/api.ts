// `window.bodydouble`: what tests and other scripts of the page may do.
import type { Layout } from "./layout";
import type { Rgb, View } from "./stage";
import type { Shot, Stats, Viewer } from "./viewer";

export interface PageApi {
	readonly info: {
		readonly title: string;
		readonly motions: readonly string[];
		readonly presets: readonly string[];
		readonly actions: readonly string[];
		readonly bones: readonly string[];
	};
	play(): void;
	pause(): void;
	/** By place in `info.motions`; -1 is the rest pose. */
	setMotion(index: number): void;
	seek(seconds: number): void;
	/** Rotation vectors of all bones (radians) and the root's translation (metres). */
	setPose(rotvecs: readonly number[], translation: readonly number[]): void;
	setExpression(strengths: Readonly<Record<string, number>>): void;
	setPreset(name: string): void;
	/** False where the double or the browser lacks it. */
	setView(view: View): boolean;
	setBackground(background: "light" | "dark"): void;
	orbit(azimuth: number, elevation: number, zoom?: number): void;
	/** A PNG as data URL; without eye, target and focal length from where the visitor looks. */
	snapshot(shot: Shot): Promise<string>;
	stats(): Stats & {
		/** Strengths in the picture, on their way to those of `state()`. */
		readonly shownExpression: Readonly<Record<string, number>>;
	};
	state(): {
		readonly playing: boolean;
		readonly seconds: number;
		readonly speed: number;
		readonly motion: number;
		readonly view: View;
		readonly eye: Rgb;
		readonly expression: Readonly<Record<string, number>>;
	};
}

export function makeApi(viewer: Viewer, layout: Layout): PageApi {
	const page = viewer.body.data.page;
	const index = (action: string) => {
		const found = page.actions.indexOf(action);
		if (found < 0) throw new RangeError(`There is no facial action ${action}.`);
		return found;
	};
	return {
		info: {
			title: page.notice.title,
			motions: page.motions.map((motion) => motion.name),
			presets: page.presets.map((preset) => preset.name),
			actions: page.actions,
			bones: page.bone_names,
		},
		play: () => {
			viewer.play();
			layout.refresh();
		},
		pause: () => {
			viewer.pause();
			layout.refresh();
		},
		setMotion: (motion) => {
			viewer.choose(viewer.clips[motion] ?? null);
			layout.refresh();
		},
		seek: (seconds) => {
			viewer.seek(seconds);
		},
		setPose: (rotvecs, translation) => {
			viewer.setPose(rotvecs, translation);
			layout.refresh();
		},
		setExpression: (strengths) => {
			viewer.setExpression(new Map(Object.entries(strengths).map(([name, value]) => [index(name), value])), true);
			layout.refresh();
		},
		setPreset: (name) => {
			const preset = page.presets.find((one) => one.name === name);
			if (!preset) throw new RangeError(`There is no expression ${name}.`);
			viewer.setExpression(new Map(preset.strengths), true);
			layout.refresh();
		},
		setView: (view) => {
			const done = viewer.setView(view);
			layout.refresh();
			return done;
		},
		setBackground: (background) => {
			layout.setBackground(background);
		},
		orbit: (azimuth, elevation, zoom) => {
			viewer.orbit(azimuth, elevation, zoom);
		},
		snapshot: (shot) => viewer.snapshot(shot),
		stats: () => ({
			...viewer.stats(),
			shownExpression: Object.fromEntries(page.actions.map((name, a) => [name, viewer.body.addedExpression[a]])),
		}),
		state: () => ({
			playing: viewer.playing,
			seconds: viewer.seconds,
			speed: viewer.speed,
			motion: viewer.clip ? viewer.clips.indexOf(viewer.clip) : -1,
			view: viewer.view,
			eye: viewer.camera.position.toArray() as Rgb,
			expression: Object.fromEntries(page.actions.map((name, a) => [name, viewer.strengthOf(a)])),
		}),
	};
}
