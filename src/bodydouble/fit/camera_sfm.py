"""Cameras and background points from the tracks of a moving camera: structure from motion by pycolmap.

The tracks take the place of descriptors: matches between keyframes are points that were followed from one to the other.
pycolmap finds cameras and points of the keyframes (incremental mapping with bundle adjustment, Schönberger and Frahm,
"Structure-from-Motion Revisited", CVPR 2016); frames between them are resected from the points they show.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from bodydouble.core.errors import MissingDependencyError
from bodydouble.fit.camera_structure import Structure, median_error, resect_others
from bodydouble.fit.camera_tracks import BackgroundTracks

_KEY_MOTION = 0.02
"""A new keyframe once the background has moved by this share of the longer side."""
_MOST_KEYS = 60
_PAIR_POINTS = 24
"""Keyframes that share fewer points are not matched."""
_PAIR_REACH = 16
_LEAST_TURN_DEG = 1.0
"""Angle between two views of a point from which on its place is believed."""
_LEAST_POINTS = 12


def structure_from_tracks(
    tracks: BackgroundTracks, focal_px: float, *, refine_focal: bool, seed: int
) -> Structure | None:
    """Cameras of all frames and points of the background.

    Args:
        tracks: Of the background.
        focal_px: To begin with; the principal point is the middle of the picture.
        refine_focal: Whether the focal length follows the tracks.
        seed: Of the random samples.
    Returns:
        None when no structure was found: the camera turns without moving, or shows too little.
    Raises:
        MissingDependencyError: When pycolmap is not installed.
    """
    pycolmap = _pycolmap()
    keys = keyframes(tracks)
    if len(keys) < 3:
        return None
    pycolmap.set_random_seed(seed)
    with tempfile.TemporaryDirectory(prefix="bodydouble-") as folder:
        images = _write_database(pycolmap, Path(folder) / "tracks.db", tracks, keys, focal_px)
        model = _map(pycolmap, Path(folder), refine_focal, seed)
    return None if model is None else _gathered(model, images, tracks)


def keyframes(tracks: BackgroundTracks) -> Int[ndarray, " keys"]:
    """Rows at which the background has moved on since the last one, the first and the last included."""
    rows = np.unique(tracks.frame)
    if len(rows) < 2:
        return rows
    step_px = _KEY_MOTION * max(tracks.width_px, tracks.height_px)
    while True:
        keys = [int(rows[0])]
        for row in rows[1:].tolist():
            _, xy_a, xy_b = tracks.shared(keys[-1], row)
            if len(xy_a) < _PAIR_POINTS or np.median(np.linalg.norm(xy_b - xy_a, axis=1)) > step_px:
                keys.append(row)
        if keys[-1] != rows[-1]:
            keys.append(int(rows[-1]))
        if len(keys) <= _MOST_KEYS:
            return np.array(keys)
        step_px *= 1.3


def _pycolmap() -> Any:
    try:
        import pycolmap
    except ImportError as error:
        raise MissingDependencyError(
            "The camera moves, and its way is found by pycolmap, which is not installed. Install it with "
            "pip install 'bodydouble[sfm]', or film from a tripod."
        ) from error
    # Its own words are for its developers; what matters is in the result.
    pycolmap.logging.minloglevel = pycolmap.logging.Level.ERROR.value if hasattr(pycolmap.logging, "Level") else 2
    return pycolmap


def _write_database(
    pycolmap: Any, path: Path, tracks: BackgroundTracks, keys: ndarray, focal_px: float
) -> dict[int, int]:
    """Keyframes, their points and matches. Returns the row of each image."""
    database = pycolmap.Database.open(path)
    camera = pycolmap.Camera(
        model="SIMPLE_PINHOLE",
        width=tracks.width_px,
        height=tracks.height_px,
        params=[focal_px, tracks.width_px / 2.0, tracks.height_px / 2.0],
    )
    camera.has_prior_focal_length = True
    camera.camera_id = database.write_camera(camera)
    rig = pycolmap.Rig()
    rig.add_ref_sensor(camera.sensor_id)
    rig.rig_id = database.write_rig(rig)
    images: dict[int, int] = {}
    points: dict[int, ndarray] = {}
    for row in keys.tolist():
        ids, xy = tracks.of_frame(row)
        image = pycolmap.Image(name=f"{row:06d}.png", camera_id=camera.camera_id)
        image.image_id = database.write_image(image)
        frame = pycolmap.Frame()
        frame.rig_id = rig.rig_id
        frame.add_data_id(image.data_id)
        frame.frame_id = database.write_frame(frame)
        database.write_keypoints(image.image_id, xy.astype(np.float32))
        images[image.image_id], points[image.image_id] = row, ids
    order = list(images)
    options = pycolmap.TwoViewGeometryOptions()
    options.compute_relative_pose = True
    for k, a in enumerate(order):
        for b in order[k + 1 : k + 1 + _PAIR_REACH]:
            _, at_a, at_b = np.intersect1d(points[a], points[b], assume_unique=True, return_indices=True)
            if len(at_a) < _PAIR_POINTS:
                continue
            matches = np.stack([at_a, at_b], axis=1).astype(np.uint32)
            xy_a, xy_b = (tracks.of_frame(images[i])[1] for i in (a, b))
            geometry = pycolmap.estimate_calibrated_two_view_geometry(camera, xy_a, camera, xy_b, matches, options)
            database.write_matches(a, b, matches)
            if len(geometry.inlier_matches) >= _PAIR_POINTS // 2:
                database.write_two_view_geometry(a, b, geometry)
    database.close()
    return images


def _map(pycolmap: Any, folder: Path, refine_focal: bool, seed: int) -> Any | None:
    options = pycolmap.IncrementalPipelineOptions()
    options.multiple_models = False
    options.extract_colors = False
    options.num_threads = 2
    options.random_seed = seed
    options.min_model_size = 3
    options.ba_refine_focal_length = refine_focal
    options.ba_refine_principal_point = False
    options.ba_refine_extra_params = False
    options.mapper.init_min_num_inliers = 40
    options.mapper.init_min_tri_angle = 4.0
    options.mapper.filter_min_tri_angle = _LEAST_TURN_DEG
    options.mapper.abs_pose_min_num_inliers = 16
    options.mapper.abs_pose_refine_focal_length = False
    options.mapper.abs_pose_refine_extra_params = False
    options.triangulation.min_angle = _LEAST_TURN_DEG
    options.ba_global_max_num_iterations = 30
    options.ba_global_frames_ratio = 1.3
    options.ba_global_points_ratio = 1.3
    for angle in (4.0, 1.5):  # a hand moves little: views a degree and a half apart must do, if nothing better is there
        options.mapper.init_min_tri_angle = angle
        models = pycolmap.incremental_mapping(folder / "tracks.db", folder, folder / "models", options)
        if models:
            return max(models.values(), key=lambda model: model.num_reg_images())
    return None


def _gathered(model: Any, images: dict[int, int], tracks: BackgroundTracks) -> Structure | None:
    """Keyframes and points of a model, and all other frames from its points."""
    T = np.tile(np.eye(4), (tracks.num_frames, 1, 1))
    found = np.zeros(tracks.num_frames, bool)
    focal_px = float(next(iter(model.cameras.values())).params[0])
    for image_id, image in model.images.items():
        if image.has_pose:
            row = images[image_id]
            T[row, :3], found[row] = np.asarray(image.cam_from_world().matrix()), True
    if found.sum() < 3:
        return None
    places, ids = [], []
    for point in model.points3D.values():
        first = point.track.elements[0]
        ids.append(int(tracks.of_frame(images[first.image_id])[0][first.point2D_idx]))
        places.append(np.asarray(point.xyz))
    if len(ids) < _LEAST_POINTS:
        return None
    point_ids, at = np.unique(np.array(ids), return_index=True)
    points = np.array(places)[at]
    T, found = resect_others(tracks, T, found, point_ids, points, focal_px)
    return Structure(
        T_camera_world=T,
        found=found,
        focal_px=focal_px,
        points_world=points,
        point_ids=point_ids,
        error_px=median_error(tracks, point_ids, points, focal_px, T, found),
    )
