"""Exporting by format name: what is written, what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from avatar_fakes import make_avatar

from bodydouble.avatar.builtin import BUILTIN_MOTIONS, builtin_motion
from bodydouble.avatar.export.html import ASSETS
from bodydouble.avatar.export.spz import spz_to_splats
from bodydouble.avatar.export.vrm import VrmMeta
from bodydouble.avatar.expressions import named_expression
from bodydouble.avatar.glb import save_avatar
from bodydouble.avatar.values import Avatar
from bodydouble.cli.main import main
from bodydouble.core.errors import ConfigError, InputError
from bodydouble.pipeline import motions
from bodydouble.pipeline.export import FORMATS, LOSSES, ExportChoices, ExportFormat, default_path, export_avatar
from bodydouble.pipeline.motions import page_motions

AVATAR = make_avatar()


@pytest.mark.parametrize("to", FORMATS)
def test_each_format_is_written_and_says_what_it_left_out(tmp_path: Path, to: ExportFormat) -> None:
    if to.startswith("usd"):
        pytest.importorskip("pxr", reason="usd-core is needed: pip install 'bodydouble[usd]'")
    if to == "html" and not (ASSETS / "page.js").is_file():
        pytest.skip("the web page's program is not built: make web")
    choices = ExportChoices(meta=VrmMeta(authors=("A",)))
    done = export_avatar(AVATAR, to, default_path(tmp_path / "a", to), choices)
    assert done.path.stat().st_size == done.bytes > 1000 and done.lost == LOSSES[to] and done.format == to


def test_a_frame_of_a_motion_and_an_expression_are_in_the_splats(tmp_path: Path) -> None:
    motion = builtin_motion("squat", AVATAR.rig)

    def splats(choices: ExportChoices) -> torch.Tensor:
        return spz_to_splats(export_avatar(AVATAR, "spz", tmp_path / "a.spz", choices).path.read_bytes()).means_world

    rest, first, deep = (
        splats(ExportChoices()),
        splats(ExportChoices(motion=motion)),
        splats(ExportChoices(motion=motion, frame=30)),
    )
    assert float((first - rest).norm(dim=-1).max()) > 0.01 and float(deep[:, 1].max()) < float(first[:, 1].max()) - 0.2
    faced = splats(ExportChoices(motion=motion, frame=30, expression=named_expression("surprise")))
    assert float((faced - deep).abs().max()) > 1e-3


def test_choices_a_format_cannot_honour_are_refused(tmp_path: Path) -> None:
    motion = builtin_motion("wave", AVATAR.rig)
    path = tmp_path / "a.vrm"
    with pytest.raises(ConfigError, match="no --motion was given"):
        export_avatar(AVATAR, "obj", path, ExportChoices(frame=3))
    with pytest.raises(ConfigError, match="has frames 0 to 119"):
        export_avatar(AVATAR, "obj", path, ExportChoices(motion=motion, frame=120))
    with pytest.raises(ConfigError, match=r"a \.glb holds the rig"):
        export_avatar(AVATAR, "glb", path, ExportChoices(motion=motion, frame=1))
    with pytest.raises(ConfigError, match="holds no motion"):
        export_avatar(AVATAR, "vrm", path, ExportChoices(motion=motion, meta=VrmMeta(authors=("A",))))
    for name in ("a", "a.glb", "a.vrm.zip"):
        with pytest.raises(ConfigError, match=r"no name for what --to vrm writes.*Expected one such as double\.vrm"):
            export_avatar(AVATAR, "vrm", tmp_path / name, ExportChoices(meta=VrmMeta(authors=("A",))))
    assert not any(tmp_path.iterdir())


def test_an_avatar_without_the_part_is_told_which_format_fits(tmp_path: Path) -> None:
    mesh_only = Avatar(rig=AVATAR.rig, mesh=AVATAR.mesh, splats=None, provenance=AVATAR.provenance)
    splats_only = Avatar(rig=AVATAR.rig, mesh=None, splats=AVATAR.splats, provenance=AVATAR.provenance)
    assert export_avatar(mesh_only, "spz", tmp_path / "a.spz", ExportChoices()).bytes > 10_000  # splats of its mesh
    with pytest.raises(InputError, match="has no mesh: export its splats --to ply or spz"):
        export_avatar(splats_only, "obj", tmp_path / "a.obj", ExportChoices())


def test_an_export_never_takes_the_avatars_own_name() -> None:
    assert default_path(Path("x/avatar.glb"), "glb") == Path("x/avatar-export.glb")
    assert default_path(Path("x/avatar.glb"), "spz") == Path("x/avatar.spz")
    assert default_path(Path("x/avatar.glb"), "mesh-ply") == Path("x/avatar.mesh.ply")


def test_the_motions_of_a_page_are_the_built_in_ones_or_the_wanted_ones(tmp_path: Path) -> None:
    assert [m.name for m in page_motions((), AVATAR, tmp_path, 12.0)] == list(BUILTIN_MOTIONS)
    found = page_motions(("wave", "idle"), AVATAR, tmp_path, 12.0)
    assert [(m.name, m.num_frames) for m in found] == [("wave", 48), ("idle", 72)]
    nobody = dataclasses.replace(AVATAR, rig=AVATAR.rig.replace(humanoid={}))
    assert page_motions((), nobody, tmp_path, 12.0) == ()
    with pytest.raises(ConfigError, match=r"--fps is 0\.5; expected 1 to 240"):
        page_motions((), AVATAR, tmp_path, 0.5)
    with pytest.raises(InputError, match="no motion 'waltz'"):
        page_motions(("waltz",), AVATAR, tmp_path, 12.0)


def test_a_page_holds_no_more_than_a_minute_of_a_motion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motions, "PAGE_SECONDS", 1.5)
    (found,) = page_motions(("squat",), AVATAR, tmp_path, 20.0)
    assert found.num_frames == len(found.translation_world_m) == len(found.expression) == 30


def test_one_motion_is_enough_for_other_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_avatar(AVATAR, tmp_path / "avatar.glb")
    words = ["export", str(tmp_path / "avatar.glb"), "--to", "glb", "--motion", "wave", "--motion", "idle"]
    assert main(words) == 1
    assert "A .glb takes one --motion, 2 were given; --to html takes several." in capsys.readouterr().err
