// Small helpers for elements. Texts go in as text, never as markup.

type Props<K extends keyof HTMLElementTagNameMap> = Partial<
	Omit<HTMLElementTagNameMap[K], "style" | "dataset" | "children" | "attributes">
> & {
	readonly attributes?: Readonly<Record<string, string>>;
};

/** An element with properties, attributes and children. */
export function el<K extends keyof HTMLElementTagNameMap>(
	tag: K,
	props: Props<K> = {},
	...children: readonly (Node | string)[]
): HTMLElementTagNameMap[K] {
	const { attributes, ...rest } = props;
	const made = document.createElement(tag);
	Object.assign(made, rest);
	for (const [name, value] of Object.entries(attributes ?? {})) made.setAttribute(name, value);
	made.append(...children);
	return made;
}

/** An icon drawn from one path in a 24 x 24 box. */
export function icon(path: string): SVGSVGElement {
	const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
	svg.setAttribute("viewBox", "0 0 24 24");
	svg.setAttribute("aria-hidden", "true");
	const shape = document.createElementNS("http://www.w3.org/2000/svg", "path");
	shape.setAttribute("d", path);
	svg.append(shape);
	return svg;
}

/** `jawOpen` and `tongue_out` as people write them: "Jaw open", "Tongue out". */
export function words(name: string): string {
	const spaced = name
		.replace(/([a-z])([A-Z])/g, "$1 $2")
		.replace(/_/g, " ")
		.trim()
		.toLowerCase();
	return spaced.charAt(0).toUpperCase() + spaced.slice(1);
}

/** `0:07.3` */
export function clock(seconds: number): string {
	const tenths = Math.floor(seconds * 10 + 1e-6);
	return `${Math.floor(tenths / 600)}:${String(Math.floor((tenths % 600) / 10)).padStart(2, "0")}.${tenths % 10}`;
}

/** A title as the name of a file: letters and digits of any script, the rest as dashes. */
export function fileName(title: string): string {
	const plain = title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "");
	return plain.slice(0, 60) || "double";
}
