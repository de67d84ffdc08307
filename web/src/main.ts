// The page: reads its own data, draws the double, and offers `window.bodydouble` to scripts.
import { makeApi, type PageApi } from "./api";
import { Body } from "./body";
import { CanvasStage } from "./canvas_stage";
import { readPage } from "./data";
import { el } from "./dom";
import { GpuStage, hasWebGl2 } from "./gpu_stage";
import { makeLayout } from "./layout";
import type { Stage } from "./stage";
import { readTexture, type Texture } from "./surface";
import { Viewer } from "./viewer";

declare global {
	interface Window {
		bodydouble?: PageApi;
	}
}

function makeStage(body: Body, texture: Texture | null, onDirty: () => void): Stage {
	if (hasWebGl2()) {
		try {
			return new GpuStage(body, texture, onDirty);
		} catch (error) {
			console.warn("WebGL 2 cannot be used after all; the mesh is drawn without it.", error);
		}
	}
	return new CanvasStage(body, texture);
}

async function start(): Promise<void> {
	const app = document.getElementById("app")!;
	try {
		// Lets the browser show the page before the work begins.
		await new Promise((done) => setTimeout(done, 0));
		const body = new Body(readPage(document));
		let viewer: Viewer | null = null;
		const stage = makeStage(body, await readTexture(body.data), () => viewer?.invalidate());
		viewer = new Viewer(body, stage);
		const layout = makeLayout(viewer, document.getElementById("licences")?.textContent ?? "");
		app.replaceChildren(...layout.elements);
		layout.attach();
		window.bodydouble = makeApi(viewer, layout);
		if (!matchMedia("(prefers-reduced-motion: reduce)").matches) viewer.play();
		layout.refresh();
		viewer.invalidate();
		document.documentElement.dataset.ready = "yes";
	} catch (error) {
		console.error(error);
		const reason = error instanceof Error ? error.message : String(error);
		app.replaceChildren(
			el("p", { className: "loading", attributes: { role: "alert" } }, `The double cannot be shown. ${reason}`),
		);
		document.documentElement.dataset.ready = "failed";
	}
}

void start();
