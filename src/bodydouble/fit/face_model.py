"""Facial actions from face points: a small network learnt from renders (`scripts/learn_face_actions.py`).

Face points are first laid on a mean face by the similarity that fits the points which follow the skull, so that the
head's place, size and turn are gone. What is read is how they lie beside this person's own neutral face, which is not
known: it is found from the video itself. To a linear forward model J (what each action adds to the aligned points) every
frame shows the neutral face plus J times its actions; so what is left after taking the actions away, averaged over the
frames with the calmest faces, is the neutral face, and with it the actions are read again. The network is told how
uncertain the neutral face is: with the mean of all faces for it, it reads cautiously.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from jaxtyping import Bool, Float, Int

from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.errors import ShapeError

NUM_POINTS = 478
WEIGHTS_FILE = "face_actions.safetensors"
UNKNOWN, FOUND = 1.0, 0.25
"""How uncertain the neutral face is when it is the mean of all people's, and when it comes from the video."""
_ROUNDS = 2
_CALM = 0.6
"""Sum of actions' strengths from which a frame counts half for the neutral face."""
_LEAST_FRAMES = 2.0
"""So many calm frames weigh as much as the mean of all faces."""
_REST_SHARE = 0.15
"""An action that is never seen weaker than by this share of the frames is taken to rest there, within its error."""
_SHARED = 0.6
"""Part of a closed mouth's open jaw that is not believed."""


@dataclass(frozen=True, kw_only=True)
class AlignedFaces:
    """Faces laid on the mean face."""

    points: Float[np.ndarray, "frames points 3"]
    """In distances between the outer corners of the eyes; +x to the picture's right, +y down, +z away."""
    R_camera_face: Float[np.ndarray, "frames 3 3"]
    """Turn of the head since a face that looks into the camera; camera axes."""
    size_px: Float[np.ndarray, " frames"]
    """Length of that unit in the picture."""


@dataclass(frozen=True, kw_only=True)
class FaceReading:
    """What a face does over time."""

    actions: Float[np.ndarray, "frames actions"]
    """Strength of the 52 actions in [0, 1], in the order of `ARKIT_ACTIONS`."""
    sigma: Float[np.ndarray, "frames actions"]
    """Standard deviation of their errors, as learnt from renders."""
    R_camera_face: Float[np.ndarray, "frames 3 3"]
    size_px: Float[np.ndarray, " frames"]


@dataclass(frozen=True, kw_only=True)
class FaceModel:
    """The learnt weights. Two hidden layers with tanh; means and logarithms of errors come out."""

    template: Float[np.ndarray, "points 3"]
    rigid: Int[np.ndarray, " rigid"]
    used: Int[np.ndarray, " used"]
    scale: Float[np.ndarray, " features"]
    forward: Float[np.ndarray, "actions features"]
    """What each action at 1 adds to the aligned `used` points, one after the other."""
    weights: tuple[Float[np.ndarray, "_ _"], ...]
    biases: tuple[Float[np.ndarray, " _"], ...]

    def align(self, points_px: Float[np.ndarray, "frames points 3"]) -> AlignedFaces:
        """Lay faces on the mean face by the similarity of their rigid points (Umeyama 1991).

        Args:
            points_px: x, y and relative depth, pixels.
        Raises:
            ShapeError: When these are not all points of a face mesh.
        """
        if points_px.shape[1:] != (NUM_POINTS, 3):
            raise ShapeError(
                f"align: faces must have {NUM_POINTS} points (the face mesh with irises), got {points_px.shape[1:]}; "
                "observe the video again."
            )
        points = points_px.astype(np.float64)
        fixed = self.template[self.rigid]
        moving = points[:, self.rigid]
        middle = moving.mean(1, keepdims=True)
        a, b = moving - middle, fixed - fixed.mean(0)
        u, d, vt = np.linalg.svd(np.einsum("fpi,pj->fij", a, b))
        flip = np.linalg.det(u @ vt)
        u[:, :, 2] *= np.sign(flip)[:, None]
        d[:, 2] *= np.sign(flip)
        R = u @ vt  # camera from face
        spread = np.maximum((a**2).sum((1, 2)), 1e-12)
        gain = d.sum(1) / spread
        laid = gain[:, None, None] * np.einsum("fji,fpj->fpi", R, points - middle) + fixed.mean(0)
        return AlignedFaces(points=laid, R_camera_face=R, size_px=1.0 / np.maximum(gain, 1e-12))

    def features(self, faces: AlignedFaces) -> Float[np.ndarray, "frames features"]:
        """The used points' coordinates."""
        return faces.points[:, self.used].reshape(len(faces.points), -1)

    def neutral_of_all(self) -> Float[np.ndarray, " features"]:
        """Features of the mean of all neutral faces."""
        return self.template[self.used].reshape(-1)

    def predict(
        self,
        features: Float[np.ndarray, "frames features"],
        neutral: Float[np.ndarray, " features"],
        uncertain: float,
        faces: AlignedFaces,
    ) -> tuple[Float[np.ndarray, "frames actions"], Float[np.ndarray, "frames actions"]]:
        """Strengths (not clipped) and their standard deviations.

        Args:
            features: Of `faces`.
            neutral: This person's neutral face.
            uncertain: In [0, 1], how little it is known.
            faces: For the head's turn and size.
        """
        x = np.concatenate([(features - neutral) / self.scale, self._side_inputs(faces, uncertain)], axis=1)
        x = np.clip(x, -6.0, 6.0)
        for W, b in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = np.tanh(x @ W + b)
        out = x @ self.weights[-1] + self.biases[-1]
        count = out.shape[1] // 2
        return out[:, :count], np.exp(np.clip(out[:, count:], -4.0, 0.5))

    @staticmethod
    def _side_inputs(faces: AlignedFaces, uncertain: float) -> Float[np.ndarray, "frames side"]:
        return side_inputs(faces.R_camera_face, faces.size_px, np.full(len(faces.size_px), uncertain))


def side_inputs(
    R_camera_face: Float[np.ndarray, "frames 3 3"],
    size_px: Float[np.ndarray, " frames"],
    uncertain: Float[np.ndarray, " frames"],
) -> Float[np.ndarray, "frames side"]:
    """What the network is told beside the points: where the face looks, how large it is, how unsure its neutral."""
    ahead = R_camera_face[:, :2, 2]
    size = np.log(np.clip(size_px, 6.0, 200.0) / 40.0)
    return np.concatenate([3.0 * ahead, 9.0 * ahead**2, size[:, None], uncertain[:, None]], axis=1)


@lru_cache(maxsize=1)
def load_face_model() -> FaceModel:
    """The model that is part of the package."""
    from safetensors.numpy import load

    stored = load(resources.files("bodydouble.fit").joinpath(WEIGHTS_FILE).read_bytes())
    layers = sum(name.startswith("weight") for name in stored)

    def real(name: str) -> np.ndarray:
        return stored[name].astype(np.float64)

    return FaceModel(
        template=real("template"),
        rigid=stored["rigid"].astype(np.int64),
        used=stored["used"].astype(np.int64),
        scale=real("scale"),
        forward=real("forward"),
        weights=tuple(real(f"weight{k}") for k in range(layers)),
        biases=tuple(real(f"bias{k}") for k in range(layers)),
    )


def read_faces(
    points_px: Float[np.ndarray, "frames points 3"],
    trust: Float[np.ndarray, " frames"],
    model: FaceModel | None = None,
) -> FaceReading:
    """Facial actions of one person in the frames of one video, each frame for itself but for the neutral face.

    Args:
        points_px: All 478 points of the face: x, y and relative depth in pixels; whatever where there is no face.
        trust: In [0, 1], how well the face was seen; 0 where there is none (actions are then 0, their deviation 1).
        model: The package's own by default.
    """
    model = model or load_face_model()
    count = model.forward.shape[0]
    actions, sigma = np.zeros((len(points_px), count)), np.ones((len(points_px), count))
    R, size = np.tile(np.eye(3), (len(points_px), 1, 1)), np.zeros(len(points_px))
    seen: Bool[np.ndarray, " frames"] = trust > 0
    if seen.any():
        faces = model.align(points_px[seen])
        features, weight = model.features(faces), trust[seen]
        neutral, uncertain = model.neutral_of_all(), UNKNOWN
        found, spread = model.predict(features, neutral, uncertain, faces)
        for _ in range(_ROUNDS):
            neutral, share = _neutral_face(model, features, found, weight)
            uncertain = UNKNOWN + (FOUND - UNKNOWN) * share
            found, spread = model.predict(features, neutral, uncertain, faces)
        found = _unshared(found - _resting(found, spread, weight))
        actions[seen], sigma[seen] = np.clip(found, 0.0, 1.0), spread
        R[seen], size[seen] = faces.R_camera_face, faces.size_px
    return FaceReading(actions=actions, sigma=sigma, R_camera_face=R, size_px=size)


def _neutral_face(
    model: FaceModel, features: np.ndarray, found: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, float]:
    """This person's neutral face and how far it is known, in [0, 1]: calm frames count, loud ones hardly."""
    strengths = np.clip(found, 0.0, 1.0)
    bare = features - strengths @ model.forward
    calm = weight / (1.0 + (strengths.sum(1) / _CALM) ** 2)
    centre = np.average(bare, axis=0, weights=calm)
    for _ in range(3):  # towards the median: odd frames count less
        off = np.sqrt((((bare - centre) / model.scale) ** 2).mean(1))
        w = calm / np.maximum(off, 0.1)
        centre = np.average(bare, axis=0, weights=w)
    share = calm.sum() / (calm.sum() + _LEAST_FRAMES)
    return model.neutral_of_all() * (1.0 - share) + centre * share, float(share)


def _unshared(found: np.ndarray) -> np.ndarray:
    """Less of a jaw that opens behind lips that stay closed: only the chin's place tells of it, and chins mislead."""
    jaw, lips = (ARKIT_ACTIONS.index(name) for name in ("jawOpen", "mouthClose"))
    both = _SHARED * np.clip(np.minimum(found[:, jaw], found[:, lips]), 0.0, 1.0)
    out = found.copy()
    out[:, jaw] -= both
    out[:, lips] -= both
    return out


def _resting(found: np.ndarray, spread: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """What each action shows while it rests: no more than its own error, in either direction."""
    if len(found) < 10:
        return np.zeros(found.shape[1])
    good = weight >= np.median(weight)
    rest = np.quantile(found[good], _REST_SHARE, axis=0)
    error = np.median(spread[good], axis=0)
    return np.clip(rest, -error, error)
