// The page around the picture: title, buttons, transport, panel, keys.
import { clock, el, fileName, icon } from "./dom";
import { choices, makePanel } from "./panel";
import type { View } from "./stage";
import type { Viewer } from "./viewer";

const PLAY = "M8 5.5v13l10.5-6.5z";
const PAUSE = "M7 5.5h3.6v13H7zM13.4 5.5H17v13h-3.6z";
const HALF = "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zm0 2v14a7 7 0 0 1 0-14z";
const CAMERA =
	"M9 4.5 7.5 6.5H5a2 2 0 0 0-2 2V17a2 2 0 0 0 2 2h14a2 2 0 0 0 2-2V8.5a2 2 0 0 0-2-2h-2.5L15 4.5zM12 8.2a4.3 4.3 0 1 1 0 8.6 4.3 4.3 0 0 1 0-8.6zm0 1.8a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z";
const HOME = "M12 5V2L7.5 6.5 12 11V7.5a5 5 0 1 1-5 5H4.5A7.5 7.5 0 1 0 12 5z";
const TURN =
	"M12 6c-5 0-9 2-9 5 0 2.2 2.3 4 5.5 4.7V18l4-3.5-4-3.5v2.2C6.400 12.600 5 11.700 5 11c0-1.200 2.900-3 7-3s7 1.800 7 3c0 .8-1.500 1.800-3.800 2.400l.6 1.900C18.800 14.500 21 12.900 21 11c0-3-4-5-9-5z";

export interface Layout {
	readonly elements: readonly HTMLElement[];
	/** Call once the elements are in the page. */
	attach(): void;
	refresh(): void;
	setBackground(background: "light" | "dark"): void;
}

function roundButton(label: string, path: string, onClick: () => void): HTMLButtonElement {
	const button = el(
		"button",
		{ type: "button", className: "round", title: label, attributes: { "aria-label": label } },
		icon(path),
	);
	button.addEventListener("click", onClick);
	return button;
}

export function makeLayout(viewer: Viewer, licences: string): Layout {
	const { stage } = viewer;
	const notice = viewer.body.data.page.notice;
	const panel = makePanel(viewer, licences);
	const transport = makeTransport(viewer, () => refresh());
	const views: readonly View[] = ["splats", "mesh"];
	const switcher = choices(["Splats", "Mesh"], (i) => {
		viewer.setView(views[i]);
		refresh();
	});
	switcher.box.classList.add("segmented");
	switcher.box.hidden = !views.every((view) => stage.can(view));
	const background = makeBackground();
	const turntable = roundButton("Turntable (T)", TURN, () => {
		viewer.setTurning(!viewer.turning);
		refresh();
	});
	const tools = el(
		"div",
		{ className: "tools" },
		switcher.box,
		turntable,
		roundButton("Light or dark (B)", HALF, background.toggle),
		roundButton("Camera back in front (R)", HOME, () => viewer.resetCamera()),
		roundButton("Save a picture (S)", CAMERA, () => void savePicture(viewer)),
	);
	const heading = el(
		"header",
		{},
		el("h1", {}, notice.title),
		el("p", {}, [notice.copyright, notice.consent ? `Consent: ${notice.consent}` : ""].filter(Boolean).join(" · ")),
	);
	stage.canvas.tabIndex = 0;
	stage.canvas.setAttribute("role", "img");
	stage.canvas.setAttribute(
		"aria-label",
		`${notice.title}, a person in 3D. Drag or use the arrow keys to look around.`,
	);
	const picture = el("div", { className: "picture" }, stage.canvas);
	const fallback = el(
		"p",
		{ className: "fallback", attributes: { role: "status" } },
		"This browser has no WebGL 2: plain mesh.",
	);
	fallback.hidden = stage.kind === "webgl2";
	const main = el("main", {}, picture, heading, tools, fallback, transport.element);
	const refresh = () => {
		panel.refresh();
		transport.refresh();
		switcher.press(views.indexOf(viewer.view));
		turntable.setAttribute("aria-pressed", String(viewer.turning));
	};
	viewer.onFrame = () => transport.refresh();
	return {
		elements: [main, panel.element],
		attach() {
			const fit = () => {
				const { width, height } = picture.getBoundingClientRect();
				if (width > 0 && height > 0) viewer.resize(Math.round(width), Math.round(height));
			};
			new ResizeObserver(fit).observe(picture);
			fit();
			addKeys(viewer, background.toggle, refresh);
		},
		refresh,
		setBackground: background.set,
	};
}

/** Lets the browser save what is seen: a PNG with a transparent ground. */
async function savePicture(viewer: Viewer): Promise<void> {
	const link = el("a", {
		href: await viewer.picture(),
		download: `${fileName(viewer.body.data.page.notice.title)}.png`,
	});
	link.click();
}

function makeTransport(viewer: Viewer, onChange: () => void): { element: HTMLElement; refresh(): void } {
	const button = roundButton("Play or pause (Space)", PLAY, () => {
		if (viewer.playing) viewer.pause();
		else viewer.play();
		onChange();
	});
	button.classList.add("play");
	const scrub = el("input", {
		type: "range",
		min: "0",
		step: "0.01",
		className: "scrub",
		attributes: { "aria-label": "Time" },
	});
	scrub.addEventListener("input", () => {
		viewer.pause();
		viewer.seek(Number(scrub.value));
		onChange();
	});
	const time = el("span", { className: "time" });
	let drawn = "";
	const refresh = () => {
		const length = viewer.clip?.seconds ?? 0;
		const text = `${clock(viewer.seconds)} / ${clock(length)}`;
		const key = `${text} ${viewer.playing} ${viewer.clip?.name}`;
		if (key === drawn) return;
		drawn = key;
		time.textContent = text;
		scrub.max = String(Math.max(length - 1 / (viewer.clip?.fps ?? 30), 0.01));
		scrub.value = String(viewer.seconds);
		scrub.disabled = button.disabled = viewer.clip === null;
		scrub.style.setProperty("--fill", `${length ? (100 * viewer.seconds) / Number(scrub.max) : 0}%`);
		scrub.setAttribute("aria-valuetext", text);
		button.replaceChildren(icon(viewer.playing ? PAUSE : PLAY));
		button.setAttribute("aria-pressed", String(viewer.playing));
	};
	return { element: el("div", { className: "transport" }, button, scrub, time), refresh };
}

function makeBackground(): { toggle(): void; set(background: "light" | "dark"): void } {
	const root = document.documentElement;
	const set = (background: "light" | "dark") => {
		root.dataset.background = background;
	};
	set(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
	return { toggle: () => set(root.dataset.background === "dark" ? "light" : "dark"), set };
}

function addKeys(viewer: Viewer, toggleBackground: () => void, refresh: () => void): void {
	const step = 0.12;
	const frame = () => 1 / (viewer.clip?.fps ?? 30);
	const jump = (by: number) => {
		viewer.pause();
		const length = viewer.clip?.seconds ?? 0;
		if (length) viewer.seek((viewer.seconds + by + length) % length);
	};
	const keys: Record<string, () => void> = {
		" ": () => (viewer.playing ? viewer.pause() : viewer.play()),
		ArrowLeft: () => viewer.orbit(-step, 0),
		ArrowRight: () => viewer.orbit(step, 0),
		ArrowUp: () => viewer.orbit(0, step),
		ArrowDown: () => viewer.orbit(0, -step),
		"+": () => viewer.orbit(0, 0, 1.1),
		"=": () => viewer.orbit(0, 0, 1.1),
		"-": () => viewer.orbit(0, 0, 1 / 1.1),
		",": () => jump(-frame()),
		".": () => jump(frame()),
		m: () => viewer.setView(viewer.view === "mesh" ? "splats" : "mesh"),
		b: toggleBackground,
		t: () => viewer.setTurning(!viewer.turning),
		f: () => viewer.lookAtFace(),
		r: () => viewer.resetCamera(),
		s: () => void savePicture(viewer),
	};
	document.addEventListener("keydown", (event) => {
		if (event.ctrlKey || event.metaKey || event.altKey) return;
		const target = event.target as HTMLElement;
		const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
		if (!action) return;
		// Sliders and buttons keep the keys that they use themselves.
		if (target.matches("input") && (event.key.startsWith("Arrow") || event.key === " ")) return;
		if (target.matches("button, summary") && event.key === " ") return;
		event.preventDefault();
		action();
		refresh();
	});
}
