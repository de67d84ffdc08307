"""Splats as .ply and .spz: our own reader, plain NumPy, and PlayCanvas's converter as an independent witness."""

from __future__ import annotations

import csv
import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from avatar_fakes import make_avatar
from foreign_readers import splat_transform
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.avatar.builtin import builtin_motion
from bodydouble.avatar.drive import pose_avatar
from bodydouble.avatar.export.splat_ply import splats_to_ply, turned_about_x
from bodydouble.avatar.export.spz import splats_to_spz, spz_to_splats
from bodydouble.core.errors import ConfigError, InputError, ShapeError
from bodydouble.core.geometry import quat_wxyz_to_matrix
from bodydouble.render.protocol import SplatCloud
from bodydouble.render.sh import sh_basis


def cloud(coeffs: int = 4) -> SplatCloud:
    avatar = make_avatar(coeffs=coeffs)
    motion = builtin_motion("wave", avatar.rig)
    splats = pose_avatar(avatar, motion.pose(20), motion.expression[20]).splats
    assert splats is not None
    return splats


def covariances(splats: SplatCloud) -> torch.Tensor:
    R = quat_wxyz_to_matrix(splats.quats_wxyz.double())
    return R @ torch.diag_embed(splats.scales_m.double() ** 2) @ R.transpose(1, 2)


def read_ply(data: bytes) -> np.ndarray:
    head, body = data.split(b"end_header\n", 1)
    lines = head.decode().splitlines()
    names = [line.split()[2] for line in lines if line.startswith("property")]
    assert all(line.split()[1] == "float" for line in lines if line.startswith("property"))
    rows = np.frombuffer(body, "<f4").reshape(-1, len(names))
    return np.rec.fromarrays(rows.T, names=names)


@pytest.mark.parametrize("coeffs", [1, 4, 9, 16])
def test_the_ply_holds_the_cloud_upside_down_in_its_own_terms(coeffs: int) -> None:
    splats = cloud(coeffs)
    rows = read_ply(splats_to_ply(splats))
    assert len(rows) == len(splats.means_world) and len(rows.dtype.names) == 17 + 3 * (coeffs - 1)
    places = np.stack([rows.x, -rows.y, -rows.z], 1)
    assert np.allclose(places, splats.means_world.numpy(), atol=1e-6)
    opacity = 1 / (1 + np.exp(-rows.opacity.astype(np.float64)))
    assert np.allclose(opacity, splats.opacities.numpy(), atol=2e-6)
    scales = np.exp(np.stack([rows.scale_0, rows.scale_1, rows.scale_2], 1))
    assert np.allclose(scales, splats.scales_m.numpy(), rtol=1e-5)
    quats = torch.tensor(np.stack([rows.rot_0, rows.rot_1, rows.rot_2, rows.rot_3], 1))
    turned = splats.replace(quats_wxyz=quats)
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    assert torch.allclose(flip @ covariances(turned) @ flip, covariances(splats), atol=1e-8)
    # Harmonics: the colour in a direction of the viewer's axes is ours in the same direction, turned back.
    rest = (
        np.stack([rows[f"f_rest_{i}"] for i in range(3 * (coeffs - 1))], 1) if coeffs > 1 else np.zeros((len(rows), 0))
    )
    higher = torch.tensor(rest.reshape(len(rows), 3, coeffs - 1)).transpose(1, 2)
    base = torch.tensor(np.stack([rows.f_dc_0, rows.f_dc_1, rows.f_dc_2], 1))[:, None]
    sh = torch.cat([base, higher.float()], 1)
    direction = torch.nn.functional.normalize(torch.tensor([[0.3, -0.7, 0.5]]), dim=-1)
    degree = {1: 0, 4: 1, 9: 2, 16: 3}[coeffs]
    there = sh_basis(direction * torch.tensor([1.0, -1.0, -1.0]), degree) @ sh
    assert torch.allclose(there, sh_basis(direction, degree) @ splats.sh, atol=1e-5)


def test_half_a_turn_twice_is_none() -> None:
    splats = cloud(9)
    back = turned_about_x(turned_about_x(splats))
    assert torch.allclose(back.means_world, splats.means_world) and torch.allclose(back.sh, splats.sh, atol=1e-5)
    assert torch.allclose(covariances(back), covariances(splats), atol=1e-9)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("coeffs", [1, 4, 16])
def test_spz_comes_back_within_its_rounding(version: int, coeffs: int) -> None:
    splats = cloud(coeffs)
    data = splats_to_spz(splats, version=version)
    assert data == splats_to_spz(splats, version=version)  # no time in the file
    back = spz_to_splats(data)
    assert (back.means_world - splats.means_world).abs().max() <= 0.51 / 65536
    assert (back.opacities - splats.opacities).abs().max() <= 0.51 / 255
    assert (torch.log(back.scales_m) - torch.log(splats.scales_m)).abs().max() <= 0.51 / 16
    turn = (quat_wxyz_to_matrix(back.quats_wxyz) - quat_wxyz_to_matrix(splats.quats_wxyz)).abs().amax()
    assert turn < (0.004 if version == 3 else 0.3)
    base = splats.sh[:, 0].clamp(-0.5 / 0.15, 0.5 / 0.15)
    assert (back.sh[:, 0] - base).abs().max() <= 0.51 / 255 / 0.15
    for degree in range(1, {1: 0, 4: 1, 16: 3}[coeffs] + 1):
        part = slice(degree * degree, (degree + 1) ** 2)
        step = {1: 8, 2: 16, 3: 16}[degree] / 128
        wanted = splats.sh[:, part].clamp(-1, 127 / 128)
        assert (back.sh[:, part] - wanted).abs().max() <= step


@pytest.mark.parametrize("kind", ["ply", "spz"])
def test_playcanvas_reads_what_we_write_and_finds_the_same_splats(tmp_path: Path, kind: str) -> None:
    splats = cloud(4)
    path = tmp_path / f"a.{kind}"
    path.write_bytes(splats_to_ply(splats) if kind == "ply" else splats_to_spz(splats))
    splat_transform(str(path), str(tmp_path / "a.csv"))
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    places = torch.tensor([[float(row[k]) for k in "xyz"] for row in rows])
    # It keeps all clouds with +Y down.
    assert torch.allclose(places * torch.tensor([1.0, -1.0, -1.0]), splats.means_world, atol=1e-4)
    quats = torch.tensor([[float(row[f"rot_{i}"]) for i in range(4)] for row in rows])
    scales = torch.tensor([[float(row[f"scale_{i}"]) for i in range(3)] for row in rows]).exp()
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    found = flip @ covariances(splats.replace(quats_wxyz=quats, scales_m=scales)) @ flip
    assert (found - covariances(splats)).abs().max() < 0.08 * float(splats.scales_m.max()) ** 2


def test_playcanvas_turns_our_ply_into_an_spz_that_we_read(tmp_path: Path) -> None:
    splats = cloud(1)
    (tmp_path / "a.ply").write_bytes(splats_to_ply(splats))
    splat_transform("--spz-version", "3", str(tmp_path / "a.ply"), str(tmp_path / "b.spz"))
    back = spz_to_splats((tmp_path / "b.spz").read_bytes())
    order = torch.cdist(splats.means_world, back.means_world).argmin(1)  # it may sort them
    assert (back.means_world[order] - splats.means_world).abs().max() < 2e-3
    assert (back.opacities[order] - splats.opacities).abs().max() < 0.01
    assert (covariances(back)[order] - covariances(splats)).abs().max() < 0.08 * float(splats.scales_m.max()) ** 2


def test_spz_refuses_what_it_cannot_hold(our_checks_alone: None) -> None:
    splats = cloud(1)
    with pytest.raises(ConfigError, match="version 2 or 3"):
        splats_to_spz(splats, version=4)
    with pytest.raises(ShapeError, match="within 128 m of the origin"):
        splats_to_spz(splats.replace(means_world=splats.means_world + 200.0))


def test_damaged_spz_files_are_refused_before_anything_large_is_made() -> None:
    data = splats_to_spz(cloud(1))
    with pytest.raises(InputError, match="cannot be unpacked"):
        spz_to_splats(b"ply\nformat ascii", "x.spz")
    with pytest.raises(InputError, match="truncated: its header has 0 of 16"):
        spz_to_splats(b"", "x.spz")
    with pytest.raises(InputError, match="does not begin with NGSP"):
        spz_to_splats(gzip.compress(bytes(64)))
    header = struct.Struct("<IIIBBBB")
    many = gzip.compress(header.pack(0x5053474E, 3, 4_000_000_000, 0, 12, 0, 0))
    with pytest.raises(InputError, match="announces 4000000000 splats"):
        spz_to_splats(many)
    with pytest.raises(InputError, match=r"9000016|truncated: 180000016 bytes were announced, 16 are there"):
        spz_to_splats(gzip.compress(header.pack(0x5053474E, 3, 9_000_000, 0, 12, 0, 0)))
    with pytest.raises(InputError, match="has version 9"):
        spz_to_splats(gzip.compress(header.pack(0x5053474E, 9, 1, 0, 12, 0, 0)))
    with pytest.raises(InputError, match=r"truncated|cannot be unpacked"):
        spz_to_splats(data[: len(data) // 2])
    # A file that unpacks to gigabytes is read up to what its header allows.
    bomb = gzip.compress(header.pack(0x5053474E, 2, 1, 0, 12, 0, 0) + bytes(50_000_000))
    assert len(spz_to_splats(bomb).means_world) == 1


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 10_000), value=st.integers(0, 255))
def test_any_changed_byte_gives_splats_or_an_input_error(place: int, value: int) -> None:
    raw = bytearray(gzip.decompress(_SMALL))
    raw[place % len(raw)] = value
    try:
        back = spz_to_splats(gzip.compress(bytes(raw)))
    except InputError:
        return
    assert bool(back.means_world.isfinite().all()) and bool(back.quats_wxyz.isfinite().all())


_SMALL = splats_to_spz(cloud(4))
