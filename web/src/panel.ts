// The panel beside the double: motions, face, pose, and whose double it is.
import type { Clip } from "./body";
import { clock, el, words } from "./dom";
import { POSE_SETS, type PoseSlider, turnsOf } from "./poses";
import type { Viewer } from "./viewer";

const SPEEDS: readonly number[] = [0.25, 0.5, 1, 2];
let serial = 0;

/** Tabs with their pages; arrow keys go from tab to tab. */
function tabs(pages: readonly (readonly [string, HTMLElement])[]): HTMLElement {
	const list = el("div", { className: "tabs", attributes: { role: "tablist", "aria-label": "Controls" } });
	const body = el("div", { className: "pages" });
	const buttons = pages.map(([name, page]) => {
		const id = `tab-${++serial}`;
		const button = el(
			"button",
			{ id, type: "button", attributes: { role: "tab", "aria-controls": `${id}-page` } },
			name,
		);
		page.id = `${id}-page`;
		page.setAttribute("role", "tabpanel");
		page.setAttribute("aria-labelledby", id);
		page.tabIndex = -1;
		body.append(page);
		list.append(button);
		return button;
	});
	const show = (index: number) => {
		buttons.forEach((button, i) => {
			button.setAttribute("aria-selected", String(i === index));
			button.tabIndex = i === index ? 0 : -1;
			pages[i][1].hidden = i !== index;
		});
		body.scrollTop = 0;
	};
	buttons.forEach((button, i) => {
		button.addEventListener("click", () => show(i));
		button.addEventListener("keydown", (event) => {
			const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
			if (!step) return;
			event.preventDefault();
			event.stopPropagation();
			const next = (i + step + buttons.length) % buttons.length;
			show(next);
			buttons[next].focus();
		});
	});
	show(0);
	return el("aside", { className: "panel" }, list, body);
}

interface Slider {
	readonly row: HTMLElement;
	set(value: number): void;
}

function slider(
	label: string,
	low: number,
	high: number,
	step: number,
	show: (v: number) => string,
	onInput: (v: number) => void,
): Slider {
	const id = `slider-${++serial}`;
	const input = el("input", { type: "range", id, min: String(low), max: String(high), step: String(step), value: "0" });
	const output = el("output", { htmlFor: id as unknown as DOMTokenList }, show(0));
	const paint = () => {
		const value = Number(input.value);
		output.textContent = show(value);
		const place = (v: number) => `${(100 * (v - low)) / (high - low)}%`;
		input.style.setProperty("--start", place(Math.min(value, 0)));
		input.style.setProperty("--fill", place(Math.max(value, 0)));
	};
	input.addEventListener("input", () => {
		paint();
		onInput(Number(input.value));
	});
	paint();
	const row = el("div", { className: "slider" }, el("label", { htmlFor: id }, label), input, output);
	return {
		row,
		set(value) {
			input.value = String(value);
			paint();
		},
	};
}

/** Buttons of which one is pressed. */
export function choices(
	names: readonly string[],
	onChoose: (index: number) => void,
): { box: HTMLElement; press(index: number): void } {
	const buttons = names.map((name, i) => {
		const button = el("button", { type: "button", className: "chip", attributes: { "aria-pressed": "false" } }, name);
		button.addEventListener("click", () => onChoose(i));
		return button;
	});
	return {
		box: el("div", { className: "chips" }, ...buttons),
		press: (index) => {
			buttons.forEach((button, i) => {
				button.setAttribute("aria-pressed", String(i === index));
			});
		},
	};
}

export interface Panel {
	readonly element: HTMLElement;
	/** Shows what the viewer shows, after it was changed from elsewhere. */
	refresh(): void;
}

export function makePanel(viewer: Viewer, licences: string): Panel {
	const motions = motionPage(viewer);
	const face = facePage(viewer);
	const pose = posePage(viewer);
	const element = tabs([
		["Motion", motions.element],
		["Face", face.element],
		["Pose", pose],
		["About", aboutPage(viewer, licences)],
	]);
	return {
		element,
		refresh() {
			motions.refresh();
			face.refresh();
		},
	};
}

function motionPage(viewer: Viewer): Panel {
	const clips: readonly (Clip | null)[] = [...viewer.clips, null];
	const rows = clips.map((clip) => {
		const row = el(
			"button",
			{ type: "button", className: "motion" },
			el("span", {}, clip ? words(clip.name) : "Rest pose"),
			el("small", {}, clip ? clock(clip.seconds) : ""),
		);
		row.addEventListener("click", () => {
			viewer.choose(clip);
			if (clip) viewer.play();
			refresh();
		});
		return row;
	});
	const speed = choices(
		SPEEDS.map((times) => `${times}×`),
		(index) => {
			viewer.speed = SPEEDS[index];
			refresh();
		},
	);
	speed.box.setAttribute("role", "group");
	speed.box.setAttribute("aria-label", "Speed");
	const refresh = () => {
		rows.forEach((row, i) => {
			row.setAttribute("aria-pressed", String(clips[i] === viewer.clip));
		});
		speed.press(SPEEDS.indexOf(viewer.speed));
	};
	refresh();
	const pace = el("div", { className: "pace" }, el("span", {}, "Speed"), speed.box);
	pace.hidden = viewer.clips.length === 0;
	return { element: el("section", { className: "page" }, ...rows, pace), refresh };
}

function facePage(viewer: Viewer): Panel {
	const page = viewer.body.data.page;
	const presets = choices(
		page.presets.map((preset) => words(preset.name)),
		(index) => {
			viewer.setExpression(new Map(page.presets[index].strengths));
			refresh();
		},
	);
	const sliders: (readonly [number, Slider])[] = [];
	const groups = page.groups.map((group) => {
		const rows = group.actions.map((action) => {
			const made = slider(
				words(page.actions[action]),
				0,
				1,
				0.01,
				(v) => String(Math.round(100 * v)),
				(v) => {
					viewer.setAction(action, v);
					pressMatching();
				},
			);
			sliders.push([action, made]);
			return made.row;
		});
		return el("details", {}, el("summary", {}, words(group.name), el("small", {}, String(rows.length))), ...rows);
	});
	const pressMatching = () => {
		presets.press(
			page.presets.findIndex((preset) => {
				const wanted = new Map(preset.strengths);
				return page.actions.every((_, a) => Math.abs(viewer.strengthOf(a) - (wanted.get(a) ?? 0)) < 1e-3);
			}),
		);
	};
	const refresh = () => {
		for (const [action, made] of sliders) made.set(viewer.strengthOf(action));
		pressMatching();
	};
	refresh();
	const closer = el("button", { type: "button", className: "wide" }, "Look at the face");
	closer.addEventListener("click", () => viewer.lookAtFace());
	return { element: el("section", { className: "page" }, closer, presets.box, ...groups), refresh };
}

function posePage(viewer: Viewer): HTMLElement {
	const bones = new Map(viewer.body.data.page.humans.map((joint) => [joint.human, joint.bone]));
	const angles = new Map<PoseSlider, number>();
	const made: Slider[] = [];
	const apply = () => {
		const turns = turnsOf(angles, bones);
		for (const bone of viewer.body.addedTurns.keys()) if (!turns.has(bone)) viewer.setTurn(bone, [0, 0, 0]);
		for (const [bone, turn] of turns) viewer.setTurn(bone, turn);
	};
	const sets = POSE_SETS.map((set, i) => {
		const known = set.sliders.filter((s) => s.turns.some((turn) => bones.has(turn.human)));
		const rows = known.map((s) => {
			const row = slider(
				s.label,
				s.low,
				s.high,
				1,
				(v) => `${Math.round(v)}°`,
				(v) => {
					angles.set(s, v);
					apply();
				},
			);
			made.push(row);
			return row.row;
		});
		return el("details", { open: i === 0 }, el("summary", {}, set.name), ...rows);
	});
	const clear = el("button", { type: "button", className: "chip" }, "Clear");
	clear.addEventListener("click", () => {
		angles.clear();
		for (const one of made) one.set(0);
		apply();
	});
	const hint = el("p", { className: "hint" }, "Turns are added to the motion.");
	return el("section", { className: "page" }, hint, ...sets, el("div", { className: "chips" }, clear));
}

function aboutPage(viewer: Viewer, licences: string): HTMLElement {
	const { notice, splats, mesh, bone_names, actions } = viewer.body.data.page;
	const facts: [string, string][] = [
		["By", notice.authors.join(", ")],
		["Copyright", notice.copyright],
		["Consent", notice.consent || "No consent of the person is recorded in this file."],
		["Use", notice.permissions],
		[
			"Inside",
			[
				splats ? `${splats.count.toLocaleString("en")} splats` : "",
				mesh ? `${(mesh.faces.shape[0] / 1000).toFixed(1)}k triangles` : "",
				`${bone_names.length} bones`,
				`${actions.length} facial actions`,
			]
				.filter(Boolean)
				.join(", "),
		],
		["Made with", notice.made_with],
		["Network", "None. Everything is inside this file, and the page forbids itself any request."],
	];
	const list = el("dl", {});
	for (const [name, text] of facts) if (text) list.append(el("dt", {}, name), el("dd", {}, text));
	const keys: [string, string][] = [
		["Space", "play or pause"],
		["← → ↑ ↓", "around the double"],
		["+ −", "nearer, farther"],
		[", .", "one frame back, on"],
		["M", "splats or mesh"],
		["B", "background"],
		["T", "turntable"],
		["F", "to the face"],
		["R", "camera back in front"],
		["S", "save a picture"],
	];
	const table = el("dl", { className: "keys" });
	for (const [key, text] of keys) table.append(el("dt", {}, el("kbd", {}, key)), el("dd", {}, text));
	return el(
		"section",
		{ className: "page about" },
		list,
		el("details", {}, el("summary", {}, "Keys"), table),
		el("details", {}, el("summary", {}, "Licences of the software in this page"), el("pre", {}, licences)),
	);
}
