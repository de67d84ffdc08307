// The page's data: a description (schema.ts) and compressed bytes that its blocks point into.
import { unzlibSync } from "fflate";
import type { Block, PageData } from "./schema";
import { SCHEMA_VERSION } from "./schema";

/** Describes the avatar and gives its blocks as 32-bit floats or whole numbers. */
export class AvatarData {
	readonly page: PageData;
	private readonly bytes: ArrayBuffer;

	constructor(page: PageData, bytes: Uint8Array) {
		if (page.schema_version !== SCHEMA_VERSION) {
			throw new Error(`This page holds data of version ${page.schema_version}, but reads version ${SCHEMA_VERSION}.`);
		}
		if (bytes.byteLength !== page.unpacked_bytes) {
			throw new Error(`The page is damaged: ${page.unpacked_bytes} bytes expected, ${bytes.byteLength} found.`);
		}
		this.page = page;
		this.bytes = bytes.slice().buffer as ArrayBuffer;
	}

	/** Values as floats, scaled. */
	floats(block: Block): Float32Array {
		const raw = this.raw(block);
		if (block.type === "float16") return Float32Array.from(raw, halfToFloat);
		const values = Float32Array.from(raw);
		if (block.scale !== 1) for (let i = 0; i < values.length; i++) values[i] *= block.scale;
		return values;
	}

	/** Bytes as stored. */
	bytesOf(block: Block): Uint8Array<ArrayBuffer> {
		return Uint8Array.from(this.raw(block));
	}

	/** Whole numbers as stored. */
	integers(block: Block): Uint32Array {
		return Uint32Array.from(this.raw(block));
	}

	private raw(block: Block): Float32Array | Int8Array | Int16Array | Uint8Array | Uint16Array | Uint32Array {
		const count = block.shape.reduce((product, size) => product * size, 1);
		const kind = KINDS[block.type];
		if (block.offset + count * kind.BYTES_PER_ELEMENT > this.bytes.byteLength) {
			throw new Error("The page is damaged: a block ends behind the data.");
		}
		return new kind(this.bytes, block.offset, count);
	}
}

const KINDS = {
	float32: Float32Array,
	float16: Uint16Array,
	int8: Int8Array,
	int16: Int16Array,
	uint8: Uint8Array,
	uint16: Uint16Array,
	uint32: Uint32Array,
} as const;

/** The value of an IEEE 754 half. */
export function halfToFloat(bits: number): number {
	const sign = bits & 0x8000 ? -1 : 1;
	const exponent = (bits >> 10) & 0x1f;
	const fraction = bits & 0x3ff;
	if (exponent === 0) return sign * fraction * 2 ** -24;
	if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
	return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Reads what the exporter put into the page. */
export function readPage(source: Document): AvatarData {
	const text = (id: string) => {
		const found = source.getElementById(id);
		if (!found?.textContent) throw new Error(`The page is damaged: it has no #${id}.`);
		return found.textContent;
	};
	const packed = fromBase64(text("data"));
	return new AvatarData(JSON.parse(text("description")) as PageData, unzlibSync(packed));
}

function fromBase64(text: string): Uint8Array {
	const binary = atob(text);
	const bytes = new Uint8Array(binary.length);
	for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
	return bytes;
}
