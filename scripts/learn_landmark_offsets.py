"""Learn where an estimator puts each landmark on a body, from renders whose pose is known.

Bodies of random shape, pose and view are drawn with plain colours, the landmark networks look at them, and for every
landmark one offset in its bone's rest frame is solved that explains all images (least squares with outlier weights; left
and right are mirrored into one). Face mesh points are traced to the skin triangle they fall on. The result is the table
that `bodydouble.fit.landmarks` reads.

    python scripts/learn_landmark_offsets.py [--images 400] [--seed 0] [-o src/bodydouble/fit/landmark_offsets.json]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bodydouble.body.anny import load_anny
from bodydouble.body.protocol import BodyModel, Pose
from bodydouble.core.cameras import Camera, video_camera
from bodydouble.core.seeds import numpy_rng
from bodydouble.fit.controls import Controls, build_controls
from bodydouble.fit.evidence import EXPRESSIVE_FACE, RIGID_FACE
from bodydouble.fit.kinematics import exp_so3, log_so3
from bodydouble.fit.landmarks import build_landmarks
from bodydouble.perceive.mediapipe_holistic import BODY_NAMES, HAND_NAMES, HolisticEstimator, HolisticResult
from bodydouble.render.mesh import MeshImage, rasterize_mesh

SIZE_PX = (640, 896)
FACE_POINTS = sorted({*RIGID_FACE, *EXPRESSIVE_FACE})
SHIRT, TROUSERS = (0.25, 0.35, 0.65), (0.25, 0.22, 0.20)
"""Where clothes are; each picture dyes them anew."""
ROBUST_PX = 8.0
SHRINK = 4.0
"""Weight of the pull of each offset to zero, in images."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preview", type=Path, default=None, help="folder for some of the renders")
    parser.add_argument("-o", type=Path, default=Path("src/bodydouble/fit/landmark_offsets.json"))
    arguments = parser.parse_args()
    body = load_anny()
    samples = Samples(body)
    rng = numpy_rng(arguments.seed, "landmark offsets")
    with HolisticEstimator(tracking=False) as estimator:
        for k in range(arguments.images):
            rgb = samples.add(rng, estimator)
            if arguments.preview is not None and k < 12:
                save_preview(arguments.preview / f"{k:03d}.png", rgb)
            if (k + 1) % 50 == 0:
                print(f"{k + 1} images, person found in {len(samples.poses)}", flush=True)
    table = {body.name: {"offsets": samples.offsets(), "face": samples.face_points()}}
    arguments.o.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {arguments.o}")


@dataclass(frozen=True)
class TruePose:
    """Where the landmarks' bare joints are in one image."""

    R: np.ndarray
    """[landmarks, 3, 3] rotation since rest of the bone that carries each."""
    world: np.ndarray
    height_m: float
    focal_px: float


class Samples:
    """What was seen of rendered bodies, beside what is true of them."""

    def __init__(self, body: BodyModel) -> None:
        self.body, self.controls = body, build_controls(body)
        self.landmarks = build_landmarks(body, {"offsets": {}, "face": {}})
        self.colors = part_colors(body, self.controls)
        inside = [body.part_names.index(n) for n in ("eyes", "mouth")]
        outer = ~torch.isin(body.vertex_parts, torch.tensor(inside))
        self.skin_faces = body.faces[outer[body.faces].all(1)]
        self.rest = body.with_shape(body.shape_default).vertices_rest.numpy()
        self.poses: list[TruePose] = []
        self.seen: list[np.ndarray] = []
        self.face_hits: dict[int, list[np.ndarray]] = {i: [] for i in FACE_POINTS}

    def add(self, rng: np.random.Generator, estimator: HolisticEstimator) -> np.ndarray:
        """Draw one body, look at it, keep what was found. Returns the picture."""
        body = self.body
        shape = random_shape(body, rng)
        pose, frontal = random_pose(body, self.controls, rng)
        shaped = body.with_shape(shape)
        posed = shaped.with_pose(pose)
        camera, vertices, moved = place(posed.vertices(), rng)
        image = rasterize_mesh(vertices, body.faces, camera)
        rgb = shade(image, vertices, body.faces, self.colors, rng)
        result = estimator.estimate(rgb)
        if result is None:
            return rgb
        R = posed.R_world_rest.double().numpy()[self.landmarks.bones]
        base = self.landmarks.joint_weights @ shaped.joints_rest.double().numpy()
        t = posed.t_world_rest.double().numpy()[self.landmarks.bones] + moved
        world = np.einsum("pij,pj->pi", R, base) + t
        self.poses.append(TruePose(R, world, float(body.height_m(shape)), float(camera.focal_px[0])))
        self.seen.append(observed(result, self.landmarks.names))
        if frontal and result.face_px is not None:
            self._trace_face(result, vertices, camera)
        return rgb

    def _trace_face(self, result: HolisticResult, vertices: torch.Tensor, camera: Camera) -> None:
        """Note which place of the skin, on the default body at rest, each face point falls on."""
        image = rasterize_mesh(vertices, self.skin_faces, camera)
        for i in FACE_POINTS:
            x, y = result.face_px[i, :2]  # type: ignore[index]
            if not (0 <= x < camera.width_px and 0 <= y < camera.height_px):
                continue
            face = int(image.face_index[int(y), int(x)])
            if face >= 0:
                weights = image.barycentric[int(y), int(x)].numpy()
                self.face_hits[i].append(weights @ self.rest[self.skin_faces[face].numpy()])

    def offsets(self) -> dict[str, list[float]]:
        """Offset of each landmark in body heights, mirrored left to right, rounded."""
        names = self.landmarks.names
        out: dict[str, list[float]] = {}
        for i, name in enumerate(names):
            j = names.index(mirrored(name))
            offset = self._solve([(i, 1.0), (j, -1.0)] if j != i else [(i, 1.0), (i, -1.0)])
            out[name] = [round(float(v), 5) for v in offset]
        return out

    def _solve(self, sources: list[tuple[int, float]]) -> np.ndarray:
        """One offset that explains a landmark and its mirror image (flip -1 mirrors x) in all images."""
        mirror = np.array([[flip, 1.0, 1.0] for i, flip in sources for _ in self.poses])
        R = np.stack([pose.R[i] for i, _ in sources for pose in self.poses]) * mirror[:, None]
        start = np.stack([pose.world[i] for i, _ in sources for pose in self.poses])
        height = np.array([pose.height_m for _ in sources for pose in self.poses])
        focal = np.array([pose.focal_px for _ in sources for pose in self.poses])
        seen = np.stack([image[i] for i, _ in sources for image in self.seen])
        offset = np.zeros(3)
        for robust_px in np.geomspace(60.0, ROBUST_PX, 15):
            p = start + np.einsum("nij,j->ni", R, offset) * height[:, None]
            gain = focal / -p[:, 2]
            residual = seen[:, :2] - gain[:, None] * p[:, :2] * [1, -1] - 0.5 * np.array(SIZE_PX)
            rows = R * (gain * height)[:, None, None]
            ratio = (p[:, :2] / -p[:, 2:])[:, :, None]
            J = (rows[:, :2] + ratio * rows[:, 2:]) * np.array([1, -1])[None, :, None]
            # In shares of the image's scale, so that close-ups do not outvote whole bodies.
            weight = seen[:, 2] * (robust_px**2 / (robust_px**2 + (residual**2).sum(1))) ** 2 / (gain * height) ** 2
            A = np.einsum("n,nki,nkj->ij", weight, J, J) + SHRINK * np.eye(3)
            offset = offset + np.linalg.solve(A, np.einsum("n,nki,nk->i", weight, J, residual) - SHRINK * offset)
        return offset

    def face_points(self) -> dict[str, dict]:
        """Each face point as three weighted skin vertices, at the median of where it fell."""
        out = {}
        for i, hits in self.face_hits.items():
            if len(hits) < 10:
                continue
            centre = np.median(np.stack(hits), axis=0)
            vertices, weights = nearest_on_faces(centre, self.rest, self.skin_faces.numpy())
            out[str(i)] = {"vertices": [int(v) for v in vertices], "weights": [round(float(w), 4) for w in weights]}
        return out


def mirrored(name: str) -> str:
    """Name of the landmark on the other side."""
    group, short = name.split("/")
    swap = {"left": "right", "right": "left"}
    group = group.replace(group.split("_")[0], swap.get(group.split("_")[0], group.split("_")[0]), 1)
    words = [swap.get(w, w) for w in short.split("_")]
    return f"{group}/{'_'.join(words)}"


def random_shape(body: BodyModel, rng: np.random.Generator) -> torch.Tensor:
    spread = {"gender": 0.5, "muscle": 0.25, "weight": 0.3, "height": 0.12, "proportions": 0.3, "age": 0.05}
    step = [rng.uniform(-1, 1) * spread.get(name, 0.0) for name in body.shape_names]
    return (body.shape_default + torch.tensor(step, dtype=torch.float32)).clamp(0, 1)


def random_pose(body: BodyModel, controls: Controls, rng: np.random.Generator) -> tuple[Pose, bool]:
    """A plausible pose at a random yaw; also whether the face looks roughly at the camera."""
    sigma, mean = controls.array("sigma"), controls.array("mean")
    theta = mean + 0.5 * sigma * rng.normal(size=len(sigma))
    theta = np.clip(theta, controls.array("lower"), controls.array("upper"))
    yaw = rng.uniform(-1.3, 1.3) if rng.random() < 0.8 else rng.uniform(-np.pi, np.pi)
    rotvecs = np.zeros((len(body.bone_names), 3))
    rotvecs[controls.node_bones] = controls.axes @ theta
    tilt = exp_so3(np.array([rng.normal() * 0.08, 0.0, rng.normal() * 0.06]))
    rotvecs[controls.node_bones[0]] = log_so3(exp_so3(np.array([0.0, yaw, 0.0])) @ tilt)
    turned = yaw + sum(theta[controls.index(f"{n}_twist")] for n in ("spine_lower", "spine_upper", "neck", "head"))
    pose = Pose(rotvecs=torch.tensor(rotvecs, dtype=torch.float32), translation_world_m=torch.zeros(3))
    return pose, abs(turned) < 0.35


def place(vertices: torch.Tensor, rng: np.random.Generator) -> tuple[Camera, torch.Tensor, np.ndarray]:
    """Put the body before a camera: whole, or from the thighs up."""
    width, height = SIZE_PX
    focal = float(rng.uniform(0.9, 1.5)) * height
    low, high = vertices.amin(0), vertices.amax(0)
    if rng.random() < 0.3:
        low = low + torch.tensor([0.0, 0.45, 0.0]) * (high - low)[1]
    span = float(torch.maximum((high - low)[1], (high - low)[0] * height / width))
    distance = focal * span / (height * float(rng.uniform(0.75, 0.9)))
    centre = 0.5 * (low + high)
    moved = torch.tensor([0.0, 0.0, -distance]) - centre
    moved[:2] += torch.tensor(rng.uniform(-0.04, 0.04, size=2), dtype=torch.float32) * span
    return video_camera(width, height, focal), vertices + moved, moved.double().numpy()


def part_colors(body: BodyModel, controls: Controls) -> torch.Tensor:
    """Skin, hair, brows, lips, eyes, shirt and trousers, by vertex: enough for the networks to see a person."""
    rest = body.with_shape(body.shape_default)
    v, joints = rest.vertices_rest, rest.joints_rest
    place_of = {n: i for i, n in enumerate(body.bone_names)}

    def joint(humanoid: str) -> torch.Tensor:
        return joints[place_of[body.humanoid[humanoid]]]

    color = torch.tensor([0.80, 0.60, 0.48]).repeat(len(v), 1)
    bone = body.skin_joints.gather(1, body.skin_weights.argmax(1, keepdim=True))[:, 0].numpy()
    limb = controls.node_of_bone[bone]
    names = [body.bone_names[b] for b in controls.node_bones]
    part = {name: body.vertex_parts == i for i, name in enumerate(body.part_names)}
    forearm = {body.humanoid[f"{s}LowerArm"] for s in ("left", "right")}
    below = controls.below[limb][:, [names.index(n) for n in forearm]].any(1)
    shirt = part["body"] & (v[:, 1] > joint("leftUpperLeg")[1]) & ~torch.from_numpy(below)
    shirt &= v[:, 1] < joint("neck")[1] + 0.01
    color[shirt] = torch.tensor(SHIRT)
    color[part["body"] & (v[:, 1] <= joint("leftUpperLeg")[1])] = torch.tensor(TROUSERS)
    color[part["left_foot"] | part["right_foot"]] = torch.tensor([0.15, 0.12, 0.12])
    eyes = 0.5 * (joint("leftEye") + joint("rightEye"))
    hair = part["head"] & ((v[:, 1] > eyes[1] + 0.055) | ((v[:, 2] < eyes[2] - 0.10) & (v[:, 1] > eyes[1] - 0.08)))
    hair &= v[:, 1] > eyes[1] - 0.08
    color[hair] = torch.tensor([0.13, 0.09, 0.07])
    strength = body.action_deltas.norm(dim=-1)
    for actions, share, shade_of in (
        (("browDownLeft", "browDownRight"), 0.85, (0.20, 0.14, 0.10)),
        (("mouthRollLower", "mouthRollUpper"), 0.45, (0.70, 0.36, 0.34)),
    ):
        for action in actions:
            moved = strength[body.action_names.index(action)]
            color[moved > share * moved.max()] = torch.tensor(shade_of)
    color[part["eyes"]] = torch.tensor([0.92, 0.92, 0.90])
    for side in ("left", "right"):
        ray = torch.nn.functional.normalize(v - joint(f"{side}Eye"), dim=1)
        near = (v - joint(f"{side}Eye")).norm(dim=1) < 0.02
        color[part["eyes"] & near & (ray[:, 2] > 0.92)] = torch.tensor([0.15, 0.10, 0.08])
    color[part["mouth"]] = torch.tensor([0.45, 0.15, 0.15])
    return color


def shade(
    image: MeshImage, vertices: torch.Tensor, faces: torch.Tensor, colors: torch.Tensor, rng: np.random.Generator
) -> np.ndarray:
    """Soft light from above the camera over a plain noisy background."""
    from bodydouble.render.mesh import interpolate

    corners = vertices[faces]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    smooth = torch.zeros_like(vertices).index_add(0, faces.reshape(-1), normal.repeat_interleave(3, 0))
    smooth = torch.nn.functional.normalize(smooth, dim=1)
    light = torch.nn.functional.normalize(torch.tensor([rng.uniform(-0.6, 0.6), 0.7, 0.8]), dim=0).float()
    lit = 0.45 + 0.65 * (smooth @ light).clamp(min=0.0)
    tint = torch.tensor(rng.uniform(0.75, 1.1, size=3), dtype=torch.float32)
    dyed = colors.clone()
    for cloth in (SHIRT, TROUSERS):
        dyed[(colors == torch.tensor(cloth)).all(1)] = torch.tensor(rng.uniform(0.1, 0.8, size=3), dtype=torch.float32)
    rgb = interpolate(image, faces, dyed * tint * lit[:, None]).numpy()
    height, width = rgb.shape[:2]
    top, bottom = rng.uniform(0.3, 0.9, size=(2, 3))
    ramp = np.linspace(0, 1, height)[:, None, None]
    background = top * (1 - ramp) + bottom * ramp + rng.normal(size=(height, width, 1)) * 0.02
    rgb = np.where(image.mask.numpy()[..., None], rgb, background)
    return (np.clip(rgb, 0, 1) * 255).astype(np.uint8)


def observed(result: HolisticResult, names: tuple[str, ...]) -> np.ndarray:
    """[landmarks, 3]: x, y and weight of each modelled landmark."""
    out = np.zeros((len(names), 3))
    for i, name in enumerate(names):
        group, short = name.split("/")
        if group == "body":
            k = BODY_NAMES.index(short)
            x, y = result.body_xy_px[k]
            inside = 0 <= x < SIZE_PX[0] and 0 <= y < SIZE_PX[1]
            out[i] = x, y, float(result.body_visibility[k] > 0.8 and inside)
        elif group != "face":
            hand = result.left_hand_px if group == "left_hand" else result.right_hand_px
            if hand is not None:
                out[i] = *hand[HAND_NAMES.index(short), :2], 1.0
    return out


def nearest_on_faces(point: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners and weights of the closest place on a mesh."""
    from trimesh.triangles import closest_point, points_to_barycentric

    triangles = vertices[faces].astype(np.float64)
    close = np.argsort(np.linalg.norm(triangles.mean(1) - point, axis=1))[:40]
    places = closest_point(triangles[close], np.repeat(point[None], len(close), axis=0))
    best = int(np.linalg.norm(places - point, axis=1).argmin())
    weights = points_to_barycentric(triangles[close[best]][None], places[best][None])[0]
    return faces[close[best]], np.clip(weights, 0.0, 1.0)


def save_preview(path: Path, rgb: np.ndarray) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path)


if __name__ == "__main__":
    main()
