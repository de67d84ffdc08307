"""Avatars as web pages: what is in the data, that names stay text, and that the page may fetch nothing."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
import runpy
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from avatar_fakes import make_avatar
from hypothesis import given, settings
from hypothesis import strategies as st
from test_pose_correctives import corrected_avatar

from bodydouble.avatar.builtin import builtin_motion
from bodydouble.avatar.export.html import PageBundle, avatar_to_html, load_bundle
from bodydouble.avatar.export.page_data import page_data
from bodydouble.avatar.export.page_schema import Block, PageNotice
from bodydouble.avatar.export.vrm import VrmMeta
from bodydouble.avatar.expressions import EXPRESSIONS
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.values import Avatar
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.errors import InputError, MissingDependencyError

ROOT = Path(__file__).parents[2]
NOTICE = PageNotice(title="t", authors=(), copyright="", consent="", permissions="", made_with="")
BUNDLE = PageBundle(
    template=(ROOT / "web" / "src" / "page.html").read_text(encoding="utf-8"),
    style="body{margin:0}",
    script="/* {{data}} stays as it is */",
    licences="MIT <c>",
)


class Page(HTMLParser):
    """The elements of a page as a browser would find them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        texts: list[str] = []
        self.elements.append((tag, dict(attrs), texts))
        if tag not in ("meta", "link"):
            self._open.append(texts)

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open:
            self._open[-1].append(data)

    def texts(self, tag: str, **wanted: str) -> list[str]:
        return ["".join(t) for name, attrs, t in self.elements if name == tag and wanted.items() <= attrs.items()]


def page_of(avatar: Avatar, meta: VrmMeta | None = None) -> Page:
    still = torch.zeros(2, len(avatar.rig.bone_names), 3)
    motions = [
        Motion(name="still", fps_hz=30.0, rotvecs=still, translation_world_m=still[:, 0], expression=torch.zeros(2, 52))
    ]
    meta = VrmMeta(name="A double") if meta is None else meta
    return Page(avatar_to_html(avatar, motions, meta, BUNDLE).decode("utf-8"))


def values(packed: bytes, block: Block) -> np.ndarray:
    """A block read on its own, as its description says."""
    raw = np.frombuffer(packed, np.dtype(block.type).newbyteorder("<"), math.prod(block.shape), block.offset)
    return raw.reshape(block.shape).astype(np.float64) * block.scale


def test_the_schema_of_the_page_is_that_of_the_classes() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "make_page_schema.py"))
    assert made["typescript"]() == made["TARGET"].read_text(encoding="utf-8"), "run python scripts/make_page_schema.py"


def test_the_blocks_hold_the_avatar() -> None:
    avatar = corrected_avatar()
    motion = builtin_motion("dance", avatar.rig)
    page, packed = page_data(avatar, [motion], NOTICE)
    splats, mesh = avatar.splats, avatar.mesh
    assert page.splats and page.mesh and page.correctives and page.unpacked_bytes == len(packed)
    np.testing.assert_array_equal(values(packed, page.splats.means_rest_m), splats.means_rest_m.numpy())
    quats = values(packed, page.splats.quats_xyzw)[:, [3, 0, 1, 2]]
    np.testing.assert_allclose(quats, splats.quats_wxyz.numpy(), atol=2e-5)
    np.testing.assert_allclose(values(packed, page.splats.scales_m), splats.scales_m.numpy(), rtol=6e-4)
    np.testing.assert_allclose(values(packed, page.splats.opacities), splats.opacities.numpy(), atol=1e-5)
    colors = 0.5 + math.sqrt(1 / (4 * math.pi)) * splats.sh[:, 0].numpy()
    np.testing.assert_allclose(values(packed, page.splats.colors), colors, atol=1e-3)
    np.testing.assert_allclose(values(packed, page.mesh.colors), mesh.colors.numpy(), atol=0.5 / 255 + 1e-6)
    np.testing.assert_array_equal(values(packed, page.mesh.faces), mesh.faces.numpy())
    basis = splats.correctives.basis
    np.testing.assert_array_equal(values(packed, page.correctives.offsets_m), basis.offsets_m.numpy())
    clip = page.motions[0]
    np.testing.assert_allclose(values(packed, clip.rotvecs), motion.rotvecs.numpy(), atol=2e-4)
    np.testing.assert_allclose(values(packed, clip.expression), motion.expression.numpy(), atol=0.5 / 255 + 1e-6)
    assert clip.frames == motion.num_frames and clip.fps_hz == 30.0


@pytest.mark.parametrize("coeffs", (1, 4, 16))
def test_harmonics_above_degree_0_are_stored_where_there_are_any(coeffs: int) -> None:
    avatar = make_avatar(coeffs=coeffs)
    page, packed = page_data(avatar, [], NOTICE)
    higher = avatar.splats.sh[:, 1:].numpy()
    if coeffs == 1:
        assert page.splats.harmonics is None
        return
    found = values(packed, page.splats.harmonics)
    np.testing.assert_allclose(found, higher, atol=np.abs(higher).max() / 127 / 2 + 1e-7)
    dark = avatar.splats.replace(sh=torch.cat([avatar.splats.sh[:, :1], torch.zeros(len(higher), coeffs - 1, 3)], 1))
    assert page_data(dataclasses.replace(avatar, splats=dark), [], NOTICE)[0].splats.harmonics is None


def test_the_heaviest_joint_comes_first_and_nothing_else_changes() -> None:
    avatar = make_avatar()
    flipped = avatar.splats.replace(joints=avatar.splats.joints.flip(1), weights=avatar.splats.weights.flip(1))
    page, packed = page_data(dataclasses.replace(avatar, splats=flipped), [], NOTICE)
    joints = values(packed, page.splats.skin.joints).astype(int)
    weights = values(packed, page.splats.skin.weights)
    assert (weights[:, 0] == weights.max(1)).all()
    bones = len(avatar.rig.bone_names)
    found, wanted = np.zeros((len(joints), bones)), np.zeros((len(joints), bones))
    np.add.at(found, (np.arange(len(joints))[:, None], joints), weights)
    np.add.at(wanted, (np.arange(len(joints))[:, None], avatar.splats.joints.numpy()), avatar.splats.weights.numpy())
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_morphs_presets_and_groups_name_the_actions() -> None:
    avatar = make_avatar()
    page, packed = page_data(avatar, [], NOTICE)
    for morph, stored in zip(avatar.splats.morphs, page.splats.skin.morphs, strict=False):
        assert page.actions[stored.action] == morph.name
        np.testing.assert_array_equal(values(packed, stored.indices), morph.indices.numpy())
        np.testing.assert_allclose(values(packed, stored.deltas_m), morph.deltas_m.numpy(), rtol=1e-3, atol=1e-6)
    assert len(page.splats.skin.morphs) == 51  # one moves nothing
    presets = {p.name: {page.actions[a]: s for a, s in p.strengths} for p in page.presets}
    assert presets == EXPRESSIONS
    assert sorted(a for group in page.groups for a in group.actions) == list(range(len(ARKIT_ACTIONS)))


def test_the_page_holds_its_data_and_forbids_every_request() -> None:
    page = page_of(corrected_avatar(), VrmMeta(name="Ada", authors=("Eve",), consent="written"))
    assert page.texts("title") == ["Ada"]
    description = json.loads(page.texts("script", id="description")[0])
    packed = zlib.decompress(base64.b64decode(page.texts("script", id="data")[0]))
    assert description["unpacked_bytes"] == len(packed) and description["notice"]["authors"] == ["Eve"]
    assert description["notice"]["permissions"].startswith("To be used by its author only; no commercial use")
    policy = next(a["content"] for tag, a, _ in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.split(" ", 1) for rule in (policy or "").split("; "))
    assert rules["default-src"] == rules["connect-src"] == rules["form-action"] == "'none'"
    script = next("".join(t) for tag, a, t in page.elements if tag == "script" and not a)
    for rule, text in (("script-src", script), ("style-src", page.texts("style")[0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in rules[rule] and "unsafe-inline" not in rules[rule]
    assert script == BUNDLE.script  # what looks like a placeholder in a value is left alone
    links = [a[k] for _, a, _ in page.elements for k in ("src", "href", "action", "data") if k in a]
    assert links == ["data:,"]


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u2028\"'&<!--{{data}}"


def shape(page: Page) -> list[tuple[str, tuple[str, ...]]]:
    return [(tag, tuple(sorted(attrs))) for tag, attrs, _ in page.elements]


@settings(max_examples=15, deadline=None)
@given(name=st.text(max_size=40) | st.just(HOSTILE))
def test_texts_of_a_hostile_avatar_stay_texts(name: str) -> None:
    avatar = make_avatar(splats_per_bone=1)
    plain = page_of(avatar)
    rig = avatar.rig.replace(bone_names=(name + "#", *avatar.rig.bone_names[1:]))
    rig = rig.replace(humanoid={**rig.humanoid, "hips": name + "#"})
    provenance = dataclasses.replace(avatar.provenance, generator=name)
    hostile = dataclasses.replace(avatar, rig=rig, provenance=provenance)
    page = page_of(hostile, VrmMeta(name=name, authors=(name,), copyright=name, consent=name))
    assert shape(page) == shape(plain)
    description = json.loads(page.texts("script", id="description")[0])
    assert description["notice"]["title"] == description["notice"]["made_with"] == name
    assert description["bone_names"][0] == name + "#"


def test_motions_of_another_rig_and_empty_avatars_are_refused() -> None:
    avatar = make_avatar()
    motion = builtin_motion("wave", avatar.rig)
    with pytest.raises(InputError, match=r"'wave' has 33 bones, the avatar 34; retarget it first"):
        avatar_to_html(avatar, [motion.replace(rotvecs=motion.rotvecs[:, 1:])], VrmMeta(), BUNDLE)
    with pytest.raises(InputError, match="there is nothing to show"):
        avatar_to_html(dataclasses.replace(avatar, mesh=None, splats=None), [], VrmMeta(), BUNDLE)


def test_a_part_that_is_missing_is_missing_in_the_data() -> None:
    avatar = make_avatar()
    for part in ("mesh", "splats"):
        page, _ = page_data(dataclasses.replace(avatar, **{part: None}), [], NOTICE)
        assert (page.mesh is None) == (part == "mesh") and (page.splats is None) == (part == "splats")
        assert torch.isfinite(torch.tensor(page.floor_m))


def test_without_the_built_program_the_error_says_how_to_build_it(tmp_path: Path) -> None:
    (tmp_path / "page.css").write_text("", encoding="utf-8")
    with pytest.raises(MissingDependencyError) as error:
        load_bundle(tmp_path)
    assert "page.html, page.js, licences.txt missing" in str(error.value) and "Run `make web`" in str(error.value)
