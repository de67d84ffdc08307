"""Files that nobody vouches for: pickles that may hold numbers only, arrays that lie about their size, text models."""

from __future__ import annotations

import collections
import contextlib
import datetime
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from bodydouble.capture.foreign.colmap import read_colmap
from bodydouble.capture.foreign.files import by_number, inside, number_in
from bodydouble.capture.foreign.pictures import image_size, read_mask, same_shape
from bodydouble.capture.foreign.worlds import make_cameras, split_projection
from bodydouble.capture.foreign.zju import read_opencv_yaml
from bodydouble.capture.video import probe, read_frames
from bodydouble.capture.video_write import VideoWriter
from bodydouble.core import arrays, pickles
from bodydouble.core.arrays import Npz, numbers, read_npy, rows
from bodydouble.core.errors import InputError

# --- pickles -------------------------------------------------------------------------------------------------------------

_ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int32, np.uint8, np.bool_, np.dtype(">f8")]),
    hnp.array_shapes(min_dims=0, max_dims=3),
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | _ARRAYS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def same(a: Any, b: Any) -> bool:
    if isinstance(b, np.ndarray):
        return isinstance(a, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=b.dtype.kind == "f")
    if isinstance(b, dict):
        return isinstance(a, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in b)
    if isinstance(b, list):
        return isinstance(a, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@given(value=_VALUES, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_numbers_and_their_containers_come_back(value: Any, protocol: int) -> None:
    assert same(pickles.loads(pickle.dumps(value, protocol), "test"), value)


def test_what_else_datasets_put_into_pickles() -> None:
    array = np.arange(12.0).reshape(3, 4)
    value = {
        "fortran": np.asfortranarray(array),
        "scalar": np.float32(1.5),
        "ordered": collections.OrderedDict(a=1),
        "tuple": (1, array[::2]),
        "objects": np.array([{"a": array}, None], dtype=object),
        3: {7},
    }
    found = pickles.loads(pickle.dumps(value, 2), "test")
    np.testing.assert_array_equal(found["fortran"], array)
    np.testing.assert_array_equal(found["objects"][0]["a"], array)
    assert found["scalar"] == 1.5 and found["ordered"] == {"a": 1} and found["tuple"][0] == 1 and found[3] == [7]
    shared = [array, array]
    twice = pickles.loads(pickle.dumps(shared), "test")
    assert twice[0] is twice[1]


def test_pickles_of_python_2() -> None:
    """Protocol 2, with the array's bytes as a str of Python 2, as the oldest SMPL files have them."""
    text = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x10"
        + struct.pack("<2d", 0.25, -8.0)
        + b"tb."
    )
    np.testing.assert_array_equal(pickles.loads(text, "test"), [0.25, -8.0])


class _Calls:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


HOSTILE: list[tuple[bytes, str]] = [
    (pickle.dumps(_Calls(os.system, "touch ran")), r"asks for (posix|nt)\.system"),
    (pickle.dumps(_Calls(eval, "1")), r"asks for builtins\.eval"),
    (pickle.dumps(datetime.date(2020, 1, 1)), r"asks for datetime\.date"),
    (pickle.dumps(_Calls(np.ndarray, (1 << 40,))), "makes an array in an unusual way"),
    (pickle.dumps(_Calls(np.load, "x.npy")), r"asks for numpy(\.lib.*)?\.load"),
    (pickle.dumps(np.array(["a"])), "expected numbers"),
    (pickle.dumps(np.zeros(1, dtype=[("a", "f8")])), "expected numbers|not a readable pickle"),
    (pickle.dumps({(1, 2): 3}), "keys that are no texts or numbers"),
    (pickle.dumps(1 + 2j), r"asks for builtins.complex"),
    (b"\x80\x02cnumpy\ndtype\n}U\x0c__defaults__K\x01sb.", "changes a function"),
    (b"\x80\x02cbodydouble.core.files\nremove_tree\n.", r"asks for bodydouble\.core\.files\.remove_tree"),
    (b"\x80\x04\x95\x05\x00", "not a readable pickle"),
    (b"", "not a readable pickle"),
    (pickle.dumps(np.arange(4.0))[:-30], "not a readable pickle"),
]


@pytest.mark.parametrize(("data", "text"), HOSTILE, ids=range(len(HOSTILE)))
def test_other_pickles_are_refused_and_not_run(
    data: bytes, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=text):
        pickles.loads(data, "file.pkl")
    assert not list(tmp_path.iterdir())


def test_arrays_that_lie_about_their_size() -> None:
    honest = pickle.dumps(np.arange(6.0), 2)
    with pytest.raises(InputError, match="another size than it says"):
        pickles.loads(honest.replace(b"K\x06\x85", b"K\x07\x85"), "x.pkl")
    deep: Any = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(InputError, match="nested too deeply"):
        pickles.loads(pickle.dumps(deep), "x.pkl")
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(InputError, match="nested too deeply"):
        pickles.loads(pickle.dumps(cycle), "x.pkl")


@given(data=st.binary(max_size=200))
@settings(max_examples=120, deadline=None)
def test_any_bytes_give_a_value_or_our_error(data: bytes) -> None:
    with contextlib.suppress(InputError):
        pickles.loads(b"\x80\x04" + data + b".", "x.pkl")


def test_object_files_of_numpy(tmp_path: Path) -> None:
    table = {"cams": {"K": [np.eye(3)]}, "ims": [{"ims": ["a.jpg"]}]}
    np.save(tmp_path / "annots.npy", np.array(table, dtype=object), allow_pickle=True)
    found = pickles.read_object_npy(tmp_path / "annots.npy")
    np.testing.assert_array_equal(found["cams"]["K"][0], np.eye(3))
    assert found["ims"] == [{"ims": ["a.jpg"]}]
    np.save(tmp_path / "plain.npy", np.arange(3))
    np.testing.assert_array_equal(pickles.read_object_npy(tmp_path / "plain.npy"), [0, 1, 2])
    (tmp_path / "text.npy").write_text("hello")
    with pytest.raises(InputError, match="not a readable NumPy array"):
        pickles.read_object_npy(tmp_path / "text.npy")
    with pytest.raises(InputError, match="is missing"):
        pickles.read_pickle(tmp_path / "nothing.pkl")


def test_large_pickles_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "MAX_PICKLE_BYTES", 10)
    (tmp_path / "big.pkl").write_bytes(pickle.dumps(np.zeros(100)))
    with pytest.raises(InputError, match="Is it the right file"):
        pickles.read_pickle(tmp_path / "big.pkl")


# --- arrays --------------------------------------------------------------------------------------------------------------


@given(array=_ARRAYS, fortran=st.booleans(), packed=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_plain_arrays_come_back(array: np.ndarray, fortran: bool, packed: bool, tmp_path: Path) -> None:
    array = np.asfortranarray(array) if fortran else array
    np.save(tmp_path / "a.npy", array)
    assert same(read_npy(tmp_path / "a.npy"), array)
    (np.savez_compressed if packed else np.savez)(tmp_path / "a.npz", first=array, second=array)
    file = Npz(tmp_path / "a.npz")
    assert same(file["second"], array) and same(file.first_of("none", "first"), array) and "none" not in file


def _npy_bytes(shape: str, data: bytes = b"") -> bytes:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def test_arrays_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header may announce a terabyte; nothing of it is taken from memory."""
    path = tmp_path / "a.npy"
    path.write_bytes(_npy_bytes("(1000000, 1000000)"))
    with pytest.raises(InputError, match="damaged or hostile"):
        read_npy(path)
    with pytest.raises(InputError, match="damaged or hostile"):
        image_size(path)
    path.write_bytes(_npy_bytes("(4,)", b"\0" * 24))
    with pytest.raises(InputError, match="ends too early"):
        read_npy(path)
    path.write_bytes(_npy_bytes("(-1, -2)", b"\0" * 16))
    with pytest.raises(InputError, match="damaged or hostile"):
        read_npy(path)
    path.write_bytes(b"no array")
    with pytest.raises(InputError, match="not a readable NumPy array"):
        read_npy(path)
    np.save(path, np.array({"a": 1}, dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="holds Python objects"):
        read_npy(path)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("big.npy", _npy_bytes("(262144,)", b"\0" * (262144 * 8)))
    bomb = bytearray((tmp_path / "bomb.npz").read_bytes())
    bomb[60:90] = bytes(range(30))
    (tmp_path / "garbled.npz").write_bytes(bomb)
    for look in (Npz(tmp_path / "garbled.npz").__getitem__, Npz(tmp_path / "garbled.npz").shape):
        with pytest.raises(InputError, match=r"garbled.npz \(big\) is (damaged|not a readable)"):
            look("big")
    monkeypatch.setattr(arrays, "MAX_ARRAY_BYTES", 1 << 20)
    with pytest.raises(InputError, match="too large"):
        Npz(tmp_path / "bomb.npz")["big"]
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match=r"not a readable .npz file"):
        Npz(tmp_path / "bad.npz")
    with pytest.raises(InputError, match=r"has no thetas or poses \(found: big\)"):
        Npz(tmp_path / "bomb.npz").first_of("thetas", "poses")


def test_shapes_of_numbers() -> None:
    assert rows(np.zeros(72), 72, "x").shape == (1, 72)
    assert rows(np.zeros((5, 24, 3)), 72, "x").shape == (5, 72)
    assert rows(np.zeros((5, 1, 10)), 10, "x").shape == (5, 10)
    for wrong in (np.zeros((5, 71)), np.zeros((72, 5)), np.zeros(0), "text", [[1, 2], [3]]):
        with pytest.raises(InputError, match="x must"):
            rows(wrong, 72, "x")
    with pytest.raises(InputError, match="x holds values that are not finite"):
        numbers([[np.inf]], (1, 1), "x")


# --- names, masks --------------------------------------------------------------------------------------------------------


def test_names_stay_inside(tmp_path: Path) -> None:
    assert inside(tmp_path, "a/../b.png").name == "b.png"
    for name in ("../b.png", "/etc/passwd", "a/../../b"):
        with pytest.raises(InputError, match="leads out of the folder"):
            inside(tmp_path, name)
    assert number_in("mesh-f00012_smplx", 0) == 12 and number_in("none", 7) == 7
    with pytest.raises(InputError, match="have the same number 1"):
        by_number([tmp_path / "a_1.png", tmp_path / "b_1.png"])


@pytest.mark.parametrize(
    ("meaning", "values", "wanted"),
    [
        ("bright", np.array([[0, 128], [255, 64]], np.uint8), [[0, 128], [255, 64]]),
        ("bright", np.array([[0, 1], [1, 0]], np.uint8), [[0, 255], [255, 0]]),
        ("bright", np.array([[True, False]]), [[255, 0]]),
        ("bright", np.array([[0.5, 1.0, np.nan]]), [[128, 255, 0]]),
        ("dark", np.array([[0, 255], [255, 100]], np.uint8), [[255, 0], [0, 155]]),
        ("nonzero", np.array([[0, 13], [1, 0]], np.uint8), [[0, 255], [255, 0]]),
        ("nearer", np.array([[3.0, 10.0], [np.inf, 10.0]], np.float32), [[255, 0], [0, 0]]),
    ],
)
def test_what_masks_mean(meaning: Any, values: np.ndarray, wanted: list[list[int]], tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", values)
    height, width = values.shape
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.npy", width, height, meaning), wanted)


def test_masks_of_another_size_are_resized_only_in_proportion(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[:, :15] = 255
    assert cv2.imwrite(str(tmp_path / "m.png"), mask)
    half = read_mask(tmp_path / "m.png", 15, 10, "bright")
    assert half.shape == (10, 15) and half[:, :7].min() == 255 and half[:, 8:].max() == 0
    with pytest.raises(InputError, match="30x20, its image 20x20"):
        read_mask(tmp_path / "m.png", 20, 20, "bright")
    assert same_shape((202, 360), (406, 720)) and not same_shape((202, 360), (720, 406))
    (tmp_path / "m.png").write_bytes((tmp_path / "m.png").read_bytes()[:40])
    with pytest.raises(InputError, match=r"damaged|not a readable picture"):
        read_mask(tmp_path / "m.png", 30, 20, "bright")


def test_the_noise_of_jpeg_is_nobody(tmp_path: Path) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 20:40] = 255
    assert cv2.imwrite(str(tmp_path / "m.jpg"), mask, [cv2.IMWRITE_JPEG_QUALITY, 70])
    assert (cv2.imread(str(tmp_path / "m.jpg"), cv2.IMREAD_GRAYSCALE) > 0).mean() > (mask > 0).mean() + 0.05
    np.testing.assert_array_equal(read_mask(tmp_path / "m.jpg", 64, 64, "nonzero"), mask)


# --- cameras -------------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000), focal=st.floats(100.0, 3000.0), scale=st.sampled_from([1.0, -1.0, 0.01, -250.0]))
@settings(max_examples=60, deadline=None)
def test_projections_are_taken_apart(seed: int, focal: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    K = np.array([[focal, 0, 400], [0, focal * 1.01, 300], [0, 0, 1]])
    R, t = Rotation.random(random_state=seed).as_matrix(), rng.normal(0, 3, 3)
    found_K, T = split_projection(scale * K @ np.concatenate([R, t[:, None]], axis=1), "x")
    np.testing.assert_allclose(found_K, K, atol=1e-6 * focal)
    np.testing.assert_allclose(T[:3, :3], R, atol=1e-8)
    np.testing.assert_allclose(T[:3, 3], t, atol=1e-7)


def test_cameras_of_other_images_are_refused() -> None:
    K, T = np.array([[[900.0, 0, 640], [0, 900, 360], [0, 0, 1]]]), np.eye(4)[None]

    def cameras(K: np.ndarray, T: np.ndarray) -> object:
        return make_cameras(K, T, pixel_offset=0.0, size_px=(1280, 720), where="file")

    cameras(K, T)
    with pytest.raises(InputError, match=r"belongs to images of about 2560x1440"):
        cameras(K * np.array([[2.0], [2.0], [1.0]]), T)
    with pytest.raises(InputError, match=r"no intrinsic matrix .* Is it transposed"):
        cameras(K.transpose(0, 2, 1), T)
    moved = T.copy()
    moved[0, :3, 3] = 1.0
    with pytest.raises(InputError, match="Is the matrix transposed"):
        cameras(K, moved.transpose(0, 2, 1))


def test_colmap_models(tmp_path: Path) -> None:
    q = Rotation.from_euler("xyz", [10, 20, 30], degrees=True)
    x, y, z, w = q.as_quat()
    (tmp_path / "cameras.txt").write_text(
        "# comment\n1 SIMPLE_RADIAL 640 480 500 320 240 0.05\n2 OPENCV 640 480 500 510 321 241 .1 .2 .3 .4\n"
    )
    (tmp_path / "images.txt").write_text(
        f"# comment\n3 {w} {x} {y} {z} 1 2 3 2 name with blanks.png\n\n1 1 0 0 0 0 0 5 1 b.png\n1.5 2.5 -1 3.5 4.5 7\n"
    )
    first, second = read_colmap(tmp_path)
    assert first.name == "name with blanks.png" and (second.width_px, second.height_px) == (640, 480)
    np.testing.assert_allclose(first.T_camera_world[:3, :3], q.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(first.T_camera_world[:3, 3], [1, 2, 3])
    np.testing.assert_allclose(first.K, [[500, 0, 321], [0, 510, 241], [0, 0, 1]])
    np.testing.assert_allclose(first.distortion, [0.1, 0.2, 0.3, 0.4, 0.0])
    np.testing.assert_allclose(second.K, [[500, 0, 320], [0, 500, 240], [0, 0, 1]])
    np.testing.assert_allclose(second.distortion, [0.05, 0, 0, 0, 0])
    (tmp_path / "images.txt").write_text("3 0 0 0 0 1 2 3 2 a.png\n\n")
    with pytest.raises(InputError, match=r"line 1: .* is no unit quaternion"):
        read_colmap(tmp_path)
    (tmp_path / "images.txt").write_text("3 1 0 0 0 1 2 3 9 a.png\n\n")
    with pytest.raises(InputError, match=r"with a camera of cameras.txt"):
        read_colmap(tmp_path)


def test_matrices_of_opencv(tmp_path: Path) -> None:
    path = tmp_path / "intri.yml"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    storage.write("names", "x")
    matrices = {"K_0": np.random.default_rng(0).normal(0, 1e3, (3, 3)), "dist_0": np.array([[1e-9, -2.5, 0, 3, 4]])}
    for name, matrix in matrices.items():
        storage.write(name, matrix)
    storage.release()
    found = read_opencv_yaml(path)
    assert found.keys() == matrices.keys()
    for name, matrix in matrices.items():
        np.testing.assert_allclose(found[name], matrix, rtol=1e-12)
    path.write_text("K_0: !!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n   data: [ 1., 2. ]\n")
    with pytest.raises(InputError, match="K_0 says 3x3 but has 2 values"):
        read_opencv_yaml(path)


# --- the video that takes the pictures -----------------------------------------------------------------------------------


def test_video_without_loss_at_given_times(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (37, 51, 3), dtype=np.uint8) for _ in range(4)]
    path = tmp_path / "v.mp4"
    with VideoWriter(path, 25.0, 51, 37, lossless=True) as video:
        for frame, number in zip(frames, (0, 1, 10, 30), strict=True):
            video.write(frame, number)
    info = probe(path)
    np.testing.assert_allclose(info.times_s, [0.0, 0.04, 0.4, 1.2], atol=1e-6)
    for frame, found in zip(frames, read_frames(path), strict=True):
        np.testing.assert_array_equal(found.rgb, frame)
    with pytest.raises(InputError, match="numbers must ascend"), VideoWriter(tmp_path / "w.mp4", 25.0, 51, 37) as video:
        video.write(frames[0], 3)
        video.write(frames[1], 3)
    assert not (tmp_path / "w.mp4").exists()
