"""Learn to read the 52 facial actions from the landmark network's face points, from renders whose expression is known.

Heads of random performers are drawn with random expressions, views, lights and sharpness; the landmark network looks at
each picture; what it found is kept. From that the model of `bodydouble.fit.face_model` is made.

    python scripts/learn_face_actions.py render --heads 160 --pictures 50 -o faces.npz     (about a quarter of an hour)
    python scripts/learn_face_actions.py learn faces.npz
    python scripts/learn_face_actions.py render --first 600 --heads 400 --pictures 36 -o more.npz     (half an hour)
    python scripts/learn_face_actions.py pictures more.npz     (on heads that the first model did not learn from)
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.seeds import numpy_rng
from bodydouble.fit.face_model import UNKNOWN, WEIGHTS_FILE, AlignedFaces, FaceModel, read_faces, side_inputs
from bodydouble.fit.face_pictures import (
    ACTIONS,
    COLUMNS,
    HIGH,
    WIDE,
    FacePictureNetwork,
    even_light,
    face_crop,
    told_of,
)
from bodydouble.fit.face_pictures import WEIGHTS_FILE as PICTURES_FILE

FIRST_SEED = 100_000
"""Performers of benchmarks and tests have smaller seeds."""
SIZE_PX = 176
NEUTRAL_SHARE = 0.15
RIGID = (
    6,
    197,
    195,
    5,
    168,
    4,
    1,
    94,
    33,
    133,
    263,
    362,
    127,
    356,
    234,
    454,
    10,
    67,
    297,
    103,
    332,
    54,
    284,
    21,
    251,
    162,
    389,
)
"""Points of the face mesh that follow the skull: bridge and tip of the nose, eye corners, temples, upper brow."""
LEFT_OUT = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 109, 67, 103, 54, 21, 162, 127, 234, 93, 151, 9, 108, 337)
"""Points that tell nothing about expressions: the mesh's rim and the forehead."""
HIDDEN = (96, 64)
EPOCHS = 40
BATCH = 256
CHANNELS, PICTURE_EPOCHS, PICTURE_BATCH = 16, 12, 128
CALM_FACES = 4
"""Medians of a head's random pictures, as many as are tried as its calm face."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    renders = commands.add_parser("render", help="draw heads and look at them")
    renders.add_argument("--heads", type=int, default=160)
    renders.add_argument("--pictures", type=int, default=50)
    renders.add_argument("--first", type=int, default=0)
    renders.add_argument("-o", type=Path, default=Path("faces.npz"))
    learns = commands.add_parser("learn", help="train the network on what was seen")
    learns.add_argument("seen", type=Path, nargs="+")
    learns.add_argument(
        "--heads", type=int, default=0, help="use the first so many only (0: all), for a learning curve"
    )
    learns.add_argument("--held", type=float, default=0.15, help="share of the heads kept for judging")
    learns.add_argument("--epochs", type=int, default=EPOCHS)
    learns.add_argument("-o", type=Path, default=Path("src/bodydouble/fit") / WEIGHTS_FILE)
    pictures = commands.add_parser("pictures", help="train the network that sees the picture, too")
    pictures.add_argument("seen", type=Path, nargs="+")
    pictures.add_argument("--held", type=float, default=0.12, help="share of the heads kept for judging")
    pictures.add_argument("--epochs", type=int, default=PICTURE_EPOCHS)
    pictures.add_argument("-o", type=Path, default=Path("src/bodydouble/fit") / PICTURES_FILE)
    golden = commands.add_parser("golden", help="store what the network sees of a few test faces")
    golden.add_argument("-o", type=Path, default=Path("tests/fit/golden_faces.npz"))
    arguments = parser.parse_args()
    torch.set_num_threads(2 if arguments.command == "pictures" else 1)
    if arguments.command == "golden":
        store_golden(arguments.o)
    elif arguments.command == "pictures":
        learn_pictures(arguments.seen, arguments.held, arguments.epochs, arguments.o)
    elif arguments.command == "render":
        render(arguments.first, arguments.heads, arguments.pictures, arguments.o)
    else:
        learn(arguments.seen, arguments.heads, arguments.held, arguments.epochs, arguments.o)


def render(first: int, heads: int, pictures: int, out: Path) -> None:
    """Draw and look; write what was seen beside what is true."""
    from bodydouble.body.anny import load_anny
    from bodydouble.perceive.mediapipe_holistic import FaceEstimator
    from bodydouble.synth.grimaces import draw_expression
    from bodydouble.synth.heads import Head

    body = load_anny()
    rows: list[tuple] = []
    missed, started = 0, time.monotonic()
    with FaceEstimator(tracking=False) as estimator:
        for number in range(first, first + heads):
            head = Head(body, FIRST_SEED + number)
            rng = numpy_rng(number, "face actions")
            for k in range(pictures):
                neutral = k < NEUTRAL_SHARE * pictures
                actions = np.zeros(52) if neutral else draw_expression(rng)
                view = draw_view(rng)
                rgb = head.picture(torch.from_numpy(actions).float(), view, size_px=SIZE_PX, seed=number * pictures + k)
                points = estimator.estimate(rgb)
                if points is None:
                    missed += 1
                    continue
                sharp = np.array([view.yaw_rad, view.pitch_rad, view.roll_rad, view.sharp_px or SIZE_PX])
                crop = face_crop(rgb, points.astype(np.float64))
                kept = (a.astype(np.float32) for a in (points, actions, sharp))
                rows.append((number, *kept, crop.astype(np.float16)))
            if (number + 1) % 5 == 0:
                print(
                    f"{number + 1} heads, {len(rows)} faces, {missed} missed, {time.monotonic() - started:.0f} s",
                    flush=True,
                )
                save(out, rows)
    save(out, rows)


def save(out: Path, rows: list[tuple]) -> None:
    heads, *rest = zip(*rows, strict=True)
    names = ("points", "actions", "views", "crops")
    np.savez(out, heads=np.array(heads), **{n: np.stack(part) for n, part in zip(names, rest, strict=True)})


def learn_pictures(seen: list[Path], held: float, epochs: int, out: Path) -> None:
    """Train the network of `face_pictures`, each head a video of its own, read by the shipped face model."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    rng = numpy_rng(0, "learn face pictures")
    data = [np.load(file) for file in seen]
    heads, points, actions, crops = (
        np.concatenate([part[name] for part in data]) for name in ("heads", "points", "actions", "crops")
    )
    rows_of = {head: np.nonzero(heads == head)[0] for head in np.unique(heads)}
    told = np.zeros((len(heads), len(ARKIT_ACTIONS) + 6), np.float32)
    for rows in rows_of.values():
        reading = read_faces(points[rows].astype(np.float64), np.ones(len(rows)))
        told[rows] = told_of(reading.actions, reading.R_camera_face, reading.size_px)
    calm = {head: _calm_faces(crops[rows], rng) for head, rows in rows_of.items()}
    judged = np.isin(heads, list(rows_of)[len(rows_of) - round(held * len(rows_of)) :]) & (held > 0)
    truth, swap = actions[:, COLUMNS], _mirrored(ACTIONS)
    swap_told = [*_mirrored(ARKIT_ACTIONS), *range(len(ARKIT_ACTIONS), told.shape[1])]
    facing = np.ones(told.shape[1], np.float32)
    facing[len(ARKIT_ACTIONS)] = -1.0  # how far the face looks to the side
    rare = 1.0 / truth.var(0)
    weight = torch.from_numpy(rare / rare.mean()).float()
    network = FacePictureNetwork(CHANNELS)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    chosen = np.nonzero(~judged)[0]
    steps = epochs * len(chosen) // PICTURE_BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps + 1, pct_start=0.1)

    def loss_of(step: int) -> torch.Tensor:
        rows = rng.choice(chosen, PICTURE_BATCH)
        x = np.stack([_spoilt(crop.astype(np.float32), rng) for crop in crops[rows]])
        c = np.stack([calm[head][rng.integers(CALM_FACES)] for head in heads[rows]])
        y, t = truth[rows], told[rows]
        if step % 2:
            x, c, y, t = x[:, :, ::-1].copy(), c[:, :, ::-1].copy(), y[:, swap], t[:, swap_told] * facing
        error = network(*(torch.from_numpy(a) for a in (x, c, t))) - torch.from_numpy(y)
        return (weight * error**2).sum(1).mean()

    descend(loss_of, steps, optimizer, schedule)
    recipe = {"made_by": "scripts/learn_face_actions.py pictures", "faces": str(len(chosen)), "heads": str(len(calm))}
    save_file({k: v.half().contiguous() for k, v in network.state_dict().items()}, out, metadata=recipe)
    print(f"wrote {out} ({out.stat().st_size / 1e3:.0f} kB)")
    if judged.any():
        judge_pictures(network.eval(), {h: r for h, r in rows_of.items() if judged[r[0]]}, crops, told, actions)


def descend(
    loss_of: Callable[[int], torch.Tensor],
    steps: int,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    """Train, and say ten times how it goes."""
    told_every, total = max(1, steps // 10), 0.0
    for step in range(steps):
        loss = loss_of(step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += float(loss.detach())
        if (step + 1) % told_every == 0:
            print(f"step {step + 1} of {steps}, loss {total / told_every:.3f}", flush=True)
            total = 0.0


def judge_pictures(network, rows_of: dict, crops: np.ndarray, told: np.ndarray, truth: np.ndarray) -> None:
    """Each kept head is a video of its own."""
    found = []
    for rows in rows_of.values():
        calm = np.median(crops[rows].astype(np.float32), axis=0)[None]
        with torch.no_grad():
            inputs = (torch.from_numpy(a.astype(np.float32)) for a in (crops[rows], calm, told[rows]))
            found.append(network(*inputs).clamp(0.0, 1.0).numpy())
    rows, found = np.concatenate(list(rows_of.values())), np.concatenate(found)
    for k, name in enumerate(ACTIONS):
        r = [np.corrcoef(a, truth[rows, COLUMNS[k]])[0, 1] for a in (told[rows, COLUMNS[k]], found[:, k])]
        print(f"{name:20s} r {r[0]:5.2f} by points, {r[1]:5.2f} by the picture")


def _calm_faces(crops: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Medians of a head's random pictures: what will be known of it as calm."""
    picks = (rng.choice(len(crops), int(rng.integers(12, len(crops) + 1)), replace=False) for _ in range(CALM_FACES))
    return np.stack([np.median(crops[pick].astype(np.float32), axis=0) for pick in picks])


def _spoilt(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As films spoil faces: laid a little beside, blurred by movement or focus, noisy, a hand before it."""
    import cv2

    moved = np.eye(2, 3, dtype=np.float32)
    turn, size = rng.normal() * 0.02, 1.0 + rng.normal() * 0.02
    moved[:, :2] = size * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    moved[:, 2] = (
        0.5 * np.array([WIDE, HIGH]) - moved[:, :2] @ (0.5 * np.array([WIDE, HIGH])) + rng.normal(size=2) * 1.2
    )
    out = cv2.warpAffine(crop, moved, (WIDE, HIGH), borderMode=cv2.BORDER_REPLICATE)
    if rng.random() < 0.3:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.7, 4.0)))
    if rng.random() < 0.25:
        length, angle = int(rng.integers(4, 20)), rng.uniform(0.0, np.pi)
        kernel = np.zeros((2 * length + 1, 2 * length + 1), np.float32)
        across, down = (round(0.5 * length * float(f(angle))) for f in (np.cos, np.sin))
        cv2.line(kernel, (length - across, length - down), (length + across, length + down), (1.0,))
        out = cv2.filter2D(out, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)
    if rng.random() < 0.12:
        x, y, w, h = (int(v) for v in rng.uniform(0.0, 1.0, 4) * [WIDE, HIGH, 0.5 * WIDE, 0.4 * HIGH])
        out[y : y + h, x : x + w] = rng.normal() + 0.3 * rng.normal()
    out = even_light(0.1 * np.asarray(out, np.float32))
    return out + np.float32(0.12 * rng.random()) * rng.standard_normal(out.shape, np.float32)


def _mirrored(names: tuple[str, ...]) -> list[int]:
    """Place of each action's counterpart on the other side."""
    swap = {"Left": "Right", "Right": "Left"}
    ends = [next((e for e in swap if name.endswith(e)), "") for name in names]
    return [names.index(n.removesuffix(e) + swap.get(e, "")) for n, e in zip(names, ends, strict=True)]


def store_golden(out: Path) -> None:
    """A calm and eight acting pictures, five views each, of two performers that nothing was learnt from."""
    from bodydouble.body.anny import load_anny
    from bodydouble.perceive.mediapipe_holistic import FaceEstimator
    from bodydouble.synth.heads import Head, View

    body, points, truth, heads = load_anny(), [], [], []
    acts = (
        {}, {}, {}, {"jawOpen": 0.9}, {"mouthSmileLeft": 0.9, "mouthSmileRight": 0.9}, {"mouthPucker": 0.9},
        {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}, {"browInnerUp": 1.0, "browOuterUpLeft": 0.8, "browOuterUpRight": 0.8},
        {"eyeLookOutLeft": 0.9, "eyeLookInRight": 0.9}, {"eyeBlinkLeft": 1.0},
    )  # fmt: skip
    with FaceEstimator(tracking=False) as estimator:
        for seed in (3, 8):
            head = Head(body, seed)
            for k, act in enumerate(acts):
                for yaw in (-0.2, 0.0, 0.2):
                    actions = np.array([act.get(name, 0.0) for name in ARKIT_ACTIONS])
                    view = View(yaw_rad=yaw, head_share=0.8)
                    rgb = head.picture(torch.from_numpy(actions).float(), view, size_px=SIZE_PX, seed=10 * k)
                    found = estimator.estimate(rgb)
                    assert found is not None
                    points.append(found), truth.append(actions), heads.append(seed)
    np.savez_compressed(
        out, points=np.stack(points).astype(np.float16), actions=np.stack(truth).astype(np.float16), heads=heads
    )


def draw_view(rng: np.random.Generator):
    """Mostly from before the face, at times blurred as a distant face is."""
    from bodydouble.synth.heads import View

    yaw, pitch = np.clip(rng.normal(size=2) * [0.3, 0.18], -0.9, 0.6)
    return View(
        yaw_rad=float(yaw),
        pitch_rad=float(pitch),
        roll_rad=float(rng.normal() * 0.12),
        distance_m=float(rng.uniform(0.45, 3.0)),
        head_share=float(rng.uniform(0.65, 0.95)),
        offset=_pair(rng.uniform(-0.06, 0.06, size=2)),
        sharp_px=int(rng.uniform(60, 170)) if rng.random() < 0.3 else 0,
    )


def _pair(values: np.ndarray) -> tuple[float, float]:
    across, down = values.tolist()
    return across, down


def learn(seen: list[Path], heads: int, held: float, epochs: int, out: Path) -> None:
    """Train, judge on heads that were kept back, write the weights."""
    from safetensors.numpy import save_file

    data = [np.load(file) for file in seen]
    number, points, actions, views = (
        np.concatenate([part[name] for part in data]) for name in ("heads", "points", "actions", "views")
    )
    actions, sharp = actions.astype(np.float64), views[:, 3] / SIZE_PX
    if heads:
        chosen = number < number.min() + heads
        number, points, actions, sharp = number[chosen], points[chosen], actions[chosen], sharp[chosen]
    calm = actions.sum(1) == 0
    template = mean_face(points[calm])
    used = np.setdiff1d(np.arange(478), LEFT_OUT)
    bare = FaceModel(template=template, rigid=np.array(RIGID), used=used, scale=np.ones(3 * len(used)),
                     forward=np.zeros((52, 3 * len(used))), weights=(), biases=())  # fmt: skip
    faces = bare.align(points)
    faces = AlignedFaces(points=faces.points, R_camera_face=faces.R_camera_face, size_px=faces.size_px * sharp)
    samples = Samples(bare, faces, number, actions, calm)
    scale = np.sqrt((samples.own**2).mean(0)) + 1e-4
    forward = np.linalg.solve(actions.T @ actions + 5.0 * np.eye(52), actions.T @ samples.own)
    mirror = Mirror(template, used)
    forward = 0.5 * (forward + mirror.features(forward)[mirror.actions])
    scale = 0.5 * (scale + mirror.features(scale[None], flip=False)[0])
    ids = np.unique(number)
    kept = np.isin(number, ids[len(ids) - round(held * len(ids)) :]) if held else np.zeros(len(number), bool)
    network = train(samples, ~kept, scale, forward, mirror, epochs)
    stored = {
        "template": template.astype(np.float32), "rigid": np.array(RIGID, np.int16), "used": used.astype(np.int16),
        "scale": scale.astype(np.float32), "forward": forward.astype(np.float16),
    }  # fmt: skip
    for k, layer in enumerate(m for m in network if isinstance(m, torch.nn.Linear)):
        stored[f"weight{k}"] = np.ascontiguousarray(layer.weight.detach().numpy().T.astype(np.float16))
        stored[f"bias{k}"] = layer.bias.detach().numpy().astype(np.float32)
    recipe = {"made_by": "scripts/learn_face_actions.py", "faces": str(len(number)), "heads": str(len(ids))}
    save_file(stored, out, metadata=recipe)
    print(f"wrote {out} ({out.stat().st_size / 1e3:.0f} kB)")
    if kept.any():
        judge(out, points[kept], number[kept], actions[kept])


def mean_face(points: np.ndarray) -> np.ndarray:
    """The mean of neutral faces, symmetric, with the eyes' outer corners 1 apart, looking into the camera."""
    template = points[np.abs(points[:, 33, 2] - points[:, 263, 2]).argmin()].astype(np.float64)
    for _ in range(5):
        template = template - template[list(RIGID)].mean(0)
        template = template / np.linalg.norm(template[33] - template[263])
        model = FaceModel(template=template, rigid=np.array(RIGID), used=np.arange(478), scale=np.ones(1434),
                          forward=np.zeros((52, 1434)), weights=(), biases=())  # fmt: skip
        template = model.align(points).points.mean(0)
        mirrored = template * [-1, 1, 1]
        template = 0.5 * (template + mirrored[mirror_points(template)])
    return template / np.linalg.norm(template[33] - template[263])


def mirror_points(template: np.ndarray) -> np.ndarray:
    """Index of each point's counterpart on the other side."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    middle = np.array([template[list(RIGID), 0].mean(), 0.0, 0.0])
    return linear_sum_assignment(cdist((template - middle) * [-1, 1, 1], template - middle, "sqeuclidean"))[1]


class Mirror:
    """Exchanges left and right."""

    def __init__(self, template: np.ndarray, used: np.ndarray) -> None:
        other = mirror_points(template)
        self._other = np.searchsorted(used, other[used])
        self.actions = np.array(_mirrored(ARKIT_ACTIONS))

    def features(self, rows: np.ndarray, *, flip: bool = True) -> np.ndarray:
        """Differences of aligned points, seen in a mirror."""
        points = rows.reshape(len(rows), -1, 3)[:, self._other]
        return (points * ([-1, 1, 1] if flip else [1, 1, 1])).reshape(len(rows), -1)


class Samples:
    """Faces beside their heads' own neutral faces."""

    def __init__(
        self, model: FaceModel, faces: AlignedFaces, number: np.ndarray, actions: np.ndarray, calm: np.ndarray
    ):
        features = model.features(faces)
        self.actions, self.R, self.size_px = actions, faces.R_camera_face, faces.size_px
        self.calm_of = {h: np.nonzero((number == h) & calm)[0] for h in np.unique(number)}
        self.features, self.mean = features.astype(np.float32), model.neutral_of_all().astype(np.float32)
        heads = list(self.calm_of)
        self.place = np.searchsorted(heads, number)
        self.calm = np.stack([np.resize(self.calm_of[h], 8) for h in heads])
        neutral = {h: features[rows].mean(0) for h, rows in self.calm_of.items()}
        self.own = features - np.stack([neutral[h] for h in number])

    def batch(self, rows: np.ndarray, forward: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Faces minus neutral faces as uncertain as they will be in use, and that uncertainty."""
        calm = self.calm[self.place[rows]]
        neutral = self.features[calm[np.arange(len(rows))[:, None], rng.integers(calm.shape[1], size=(len(rows), 3))]]
        unsure = np.where(rng.random(len(rows)) < 0.25, UNKNOWN, rng.uniform(0.1, 0.6, len(rows)) * UNKNOWN)
        share = np.where(unsure == UNKNOWN, 1.0, 0.5 * unsure)[:, None].astype(np.float32)
        neutral = neutral.mean(1)
        neutral = neutral + share * (self.mean - neutral)
        # What is left of expressions in a neutral face that was found in a video.
        left = (rng.random((len(rows), 52)) < 0.06) * rng.uniform(-0.3, 0.5, (len(rows), 52)) * unsure[:, None]
        neutral = neutral + np.where(share < 1.0, left.astype(np.float32) @ forward, np.float32(0.0))
        return self.features[rows] - neutral, unsure


def train(
    samples: Samples, chosen: np.ndarray, scale: np.ndarray, forward: np.ndarray, mirror: Mirror, epochs: int
) -> torch.nn.Sequential:
    """Fit means and errors by a Gaussian likelihood, its gradient evened out by the root of the variance."""
    torch.manual_seed(0)
    rng = numpy_rng(0, "learn face actions")
    sizes = (len(scale) + 6, *HIDDEN)
    layers: list[torch.nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(a, b), torch.nn.Tanh()]
    network = torch.nn.Sequential(*layers, torch.nn.Linear(sizes[-1], 104))
    forward, scale = forward.astype(np.float32), scale.astype(np.float32)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=2e-2)
    rows = np.nonzero(chosen)[0]
    steps = epochs * (len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps + 1, pct_start=0.1)

    def loss_of(step: int) -> torch.Tensor:
        pick = rng.choice(rows, BATCH)
        x, unsure = samples.batch(pick, forward, rng)
        R, size, y = samples.R[pick], samples.size_px[pick] * rng.uniform(0.8, 1.5, BATCH), samples.actions[pick]
        if step % 2:
            x, y = mirror.features(x), y[:, mirror.actions]
            M = np.diag([-1.0, 1.0, 1.0])
            R = M @ R @ M
        x = x / scale + rng.standard_normal(x.shape, np.float32) * np.float32(0.08)
        inputs = np.clip(np.concatenate([x, side_inputs(R, size, unsure)], axis=1), -6.0, 6.0)
        out = network(torch.from_numpy(inputs).float())
        mean, log_sigma = out[:, :52], out[:, 52:].clamp(-4.0, 0.5)
        error = torch.from_numpy(y).float() - mean
        # Means by least squares, errors by likelihood: a likelihood for both would give hard faces up.
        spread = 0.5 * (error.detach() / log_sigma.exp()) ** 2 + log_sigma
        return (50.0 * error**2).sum(1).mean() + 0.1 * spread.sum(1).mean()

    descend(loss_of, steps, optimizer, schedule)
    return network


def judge(weights: Path, points: np.ndarray, number: np.ndarray, actions: np.ndarray) -> None:
    """Each kept head is a video of its own."""
    from safetensors.numpy import load_file

    from bodydouble.evaluate.actions import action_correlations, action_errors
    from bodydouble.fit import face_model

    stored = load_file(weights)
    layers = sum(n.startswith("weight") for n in stored)
    model = face_model.FaceModel(
        template=stored["template"].astype(float), rigid=stored["rigid"].astype(int), used=stored["used"].astype(int),
        scale=stored["scale"].astype(float), forward=stored["forward"].astype(float),
        weights=tuple(stored[f"weight{k}"].astype(float) for k in range(layers)),
        biases=tuple(stored[f"bias{k}"].astype(float) for k in range(layers)),
    )  # fmt: skip
    found = np.zeros_like(actions)
    for head in np.unique(number):
        mine = number == head
        found[mine] = face_model.read_faces(points[mine], np.ones(mine.sum()), model).actions
    r, error = action_correlations(found, actions), action_errors(found, actions)
    for name, a, b in zip(ARKIT_ACTIONS, r, error, strict=True):
        print(f"{name:20s} r {a:5.2f}  mean error {b:.3f}")
    print(f"mean r {np.nanmean(r):.3f}, mean error {error.mean():.3f}, {len(np.unique(number))} heads")


if __name__ == "__main__":
    main()
