// Sliders of the pose, by part of the body. Turns are about the rest axes: +X to the body's left, +Y up, +Z forward.

export interface PoseSlider {
	readonly label: string;
	/** Degrees at the ends. */
	readonly low: number;
	readonly high: number;
	/** Which bones turn, about which axis, and with which share of the angle. */
	readonly turns: readonly { readonly human: string; readonly axis: 0 | 1 | 2; readonly share: number }[];
}

export interface PoseSet {
	readonly name: string;
	readonly sliders: readonly PoseSlider[];
}

function one(label: string, low: number, high: number, human: string, axis: 0 | 1 | 2, share = 1): PoseSlider {
	return { label, low, high, turns: [{ human, axis, share }] };
}

function many(label: string, low: number, high: number, axis: 0 | 1 | 2, humans: readonly string[]): PoseSlider {
	return { label, low, high, turns: humans.map((human) => ({ human, axis, share: 1 / humans.length })) };
}

const NECK = ["neck", "head"];
const BACK = ["spine", "chest", "upperChest"];

/** An arm hangs or reaches along X: it rises about Z, swings forward about Y; the elbow bends forward about Y. */
function arm(side: "left" | "right"): PoseSet {
	const sign = side === "left" ? 1 : -1;
	return {
		name: side === "left" ? "Left arm" : "Right arm",
		sliders: [
			one("Raise", -60, 100, `${side}UpperArm`, 2, sign),
			one("Swing", -60, 100, `${side}UpperArm`, 1, -sign),
			one("Elbow", 0, 130, `${side}LowerArm`, 1, -sign),
			one("Wrist", -60, 60, `${side}Hand`, 2, sign),
		],
	};
}

function leg(side: "left" | "right"): PoseSet {
	const sign = side === "left" ? 1 : -1;
	return {
		name: side === "left" ? "Left leg" : "Right leg",
		sliders: [
			one("Lift", -40, 100, `${side}UpperLeg`, 0, -1),
			one("Spread", -20, 60, `${side}UpperLeg`, 2, sign),
			one("Knee", 0, 130, `${side}LowerLeg`, 0, 1),
		],
	};
}

export const POSE_SETS: readonly PoseSet[] = [
	{
		name: "Head",
		sliders: [many("Turn", -80, 80, 1, NECK), many("Nod", -45, 50, 0, NECK), many("Tilt", -40, 40, 2, NECK)],
	},
	{
		name: "Torso",
		sliders: [many("Turn", -60, 60, 1, BACK), many("Bend", -30, 70, 0, BACK), many("Lean", -35, 35, 2, BACK)],
	},
	arm("left"),
	arm("right"),
	leg("left"),
	leg("right"),
];

/** Rotation vectors by bone, from the angles of all sliders. Turns about several axes of one bone add up as a vector. */
export function turnsOf(
	angles: ReadonlyMap<PoseSlider, number>,
	bones: ReadonlyMap<string, number>,
): Map<number, [number, number, number]> {
	const turns = new Map<number, [number, number, number]>();
	for (const [slider, degrees] of angles) {
		for (const { human, axis, share } of slider.turns) {
			const bone = bones.get(human);
			if (bone === undefined) continue;
			const turn = turns.get(bone) ?? [0, 0, 0];
			turn[axis] += (degrees * share * Math.PI) / 180;
			turns.set(bone, turn);
		}
	}
	return turns;
}
