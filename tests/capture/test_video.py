"""Decoding: the right frames, upright, with the right times and colours; bad files end in one clear error."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bodydouble.capture.video import probe, read_frames, read_thumbnails
from bodydouble.capture.video_write import VideoWriter
from bodydouble.core.errors import InputError

from .tiny_clips import (
    BLUE,
    GREEN,
    RED,
    WHITE,
    number_of,
    numbered,
    quadrants,
    write_audio_only,
    write_clip,
)

LOSSLESS = {"qp": "0"}


def corners(rgb: np.ndarray) -> list[tuple[int, ...]]:
    """Colours in the middles of the four quadrants: top left, top right, bottom left, bottom right."""
    h, w = rgb.shape[:2]
    return [tuple(int(v) for v in rgb[y, x]) for y in (h // 4, 3 * h // 4) for x in (w // 4, 3 * w // 4)]


def assert_colors(found: list[tuple[int, ...]], expected: list[tuple[int, ...]], tolerance: int = 6) -> None:
    assert np.abs(np.array(found) - np.array(expected)).max() <= tolerance, (found, expected)


def noisy(count: int) -> list[np.ndarray]:
    """Numbered frames that take some space."""
    rng = np.random.default_rng(0)
    return [
        np.clip(numbered(i, 64, 96) + rng.integers(-25, 26, (96, 64, 3)), 0, 255).astype(np.uint8) for i in range(count)
    ]


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 numbered frames with B-frames and few keyframes."""
    path = tmp_path_factory.mktemp("clips") / "long.mp4"
    return write_clip(path, [numbered(i) for i in range(200)], options={"g": "48", "bf": "3", "crf": "10"})


class TestFacts:
    def test_counts_times_and_sizes(self, long_clip: Path) -> None:
        info = probe(long_clip)
        assert (info.num_frames, info.width_px, info.height_px, info.codec) == (200, 64, 48, "h264")
        assert info.fps_hz == pytest.approx(30.0)
        np.testing.assert_allclose(info.times_s, np.arange(200) / 30.0, atol=1e-4)
        assert (info.rotation_deg, info.damage, info.focal_px) == (0, "", None)
        assert len(info.sha256) == 64

    def test_variable_frame_rate_keeps_the_exact_times(self, tmp_path: Path) -> None:
        times_ms = [0, 33, 100, 233, 250, 901]
        path = write_clip(tmp_path / "vfr.mkv", [numbered(i) for i in range(6)], times_ms=times_ms, options={"bf": "0"})
        info = probe(path)
        np.testing.assert_allclose(info.times_s, np.array(times_ms) / 1000, atol=1e-9)
        assert [f.time_s for f in read_frames(path, [1, 4], info)] == [0.033, 0.25]

    def test_times_start_at_zero(self, tmp_path: Path) -> None:
        times_ms = [500, 540, 580]
        path = write_clip(
            tmp_path / "late.mkv", [numbered(i) for i in range(3)], times_ms=times_ms, options={"bf": "0"}
        )
        np.testing.assert_allclose(probe(path).times_s, [0.0, 0.04, 0.08], atol=1e-9)
        np.testing.assert_allclose([f.time_s for f in read_frames(path)], [0.0, 0.04, 0.08], atol=1e-9)

    def test_one_frame(self, tmp_path: Path) -> None:
        info = probe(write_clip(tmp_path / "one.mp4", [quadrants(64, 48)]))
        assert (info.num_frames, info.times_s) == (1, (0.0,))
        assert info.fps_hz > 0

    @pytest.mark.parametrize(("text", "focal_mm"), [("26", 26.0), ("26.0 mm", 26.0), ("28/1", 28.0)])
    def test_focal_length_from_metadata(self, tmp_path: Path, text: str, focal_mm: float) -> None:
        metadata = {"com.apple.quicktime.camera.focal_length.35mm_equivalent": text}
        path = tmp_path / "phone.mov"
        options = {"movflags": "use_metadata_tags"}
        write_clip(path, [quadrants(64, 48)], metadata=metadata, container_options=options)
        assert probe(path).focal_px == pytest.approx(focal_mm / 36 * 64)

    @pytest.mark.parametrize("text", ["", "unknown", "0", "1/0", "99999"])
    def test_senseless_focal_length_is_ignored(self, tmp_path: Path, text: str) -> None:
        metadata = {"focal_length_35mm": text}
        options = {"movflags": "use_metadata_tags"}
        path = write_clip(tmp_path / "p.mov", [quadrants(64, 48)], metadata=metadata, container_options=options)
        assert probe(path).focal_px is None


class TestUpright:
    @pytest.mark.parametrize(
        ("rotation", "hflip", "expected", "clockwise"),
        [
            (0, False, [RED, GREEN, BLUE, WHITE], 0),
            (-90, False, [BLUE, RED, WHITE, GREEN], 90),
            (180, False, [WHITE, BLUE, GREEN, RED], 180),
            (90, False, [GREEN, WHITE, RED, BLUE], 270),
            (0, True, [GREEN, RED, WHITE, BLUE], None),
            (90, True, [WHITE, GREEN, BLUE, RED], None),
        ],
    )
    def test_rotation_and_mirror_tags(
        self, tmp_path: Path, rotation: int, hflip: bool, expected: list[tuple[int, ...]], clockwise: int | None
    ) -> None:
        path = write_clip(tmp_path / "turned.mp4", [quadrants(64, 48)] * 3, rotation=rotation, hflip=hflip)
        info = probe(path)
        turned = rotation in (90, -90)
        assert (info.width_px, info.height_px) == ((48, 64) if turned else (64, 48))
        if clockwise is not None:
            assert info.rotation_deg == clockwise
        for frame in read_frames(path, None, info):
            assert frame.rgb.shape == (info.height_px, info.width_px, 3)
            assert frame.rgb.flags.c_contiguous
            assert_colors(corners(frame.rgb), expected, 10)

    def test_pixels_that_are_not_square_are_stretched(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "dv.mp4", [quadrants(64, 48)] * 2, aspect=Fraction(4, 3))
        info = probe(path)
        assert (info.width_px, info.height_px) == (85, 48)
        assert next(iter(read_frames(path))).rgb.shape == (48, 85, 3)

    @pytest.mark.parametrize("size", [(63, 47), (17, 33), (1, 1)])
    def test_odd_sizes(self, tmp_path: Path, size: tuple[int, int]) -> None:
        image = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
        path = write_clip(tmp_path / "odd.mkv", [image] * 2, codec="ffv1", pix_fmt="bgr0")
        frame = next(iter(read_frames(path)))
        np.testing.assert_array_equal(frame.rgb, image)


class TestColors:
    @pytest.mark.parametrize(("colorspace", "color_range"), [(1, 1), (5, 1), (1, 2), (5, 2)])
    def test_tagged_matrix_and_range(self, tmp_path: Path, colorspace: int, color_range: int) -> None:
        path = write_clip(
            tmp_path / "c.mp4",
            [quadrants(64, 48)] * 2,
            colorspace=colorspace,
            color_range=color_range,
            options=LOSSLESS,
        )
        assert_colors(corners(next(iter(read_frames(path))).rgb), [RED, GREEN, BLUE, WHITE], 4)

    @pytest.mark.parametrize(("size", "matrix"), [((64, 48), 5), ((1280, 720), 1)])
    def test_untagged_video_is_taken_for_what_players_take_it_for(
        self, tmp_path: Path, size: tuple[int, int], matrix: int
    ) -> None:
        import av

        tagged = av.VideoFrame.from_ndarray(quadrants(*size), format="rgb24").reformat(
            format="yuv444p", dst_colorspace=matrix, src_color_range=2, dst_color_range=1
        )
        path = tmp_path / "u.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=30)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv444p"
            tagged.colorspace = 2  # unspecified
            for packet in [*stream.encode(tagged), *stream.encode(None)]:
                container.mux(packet)
        assert_colors(corners(next(iter(read_frames(path))).rgb), [RED, GREEN, BLUE, WHITE], 4)

    def test_ten_bits(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "ten.mkv", [quadrants(64, 48)] * 2, codec="ffv1", pix_fmt="yuv420p10le")
        frame = next(iter(read_frames(path)))
        assert frame.rgb.dtype == np.uint8
        assert_colors(corners(frame.rgb), [RED, GREEN, BLUE, WHITE])

    def test_phone_hdr_becomes_srgb(self, tmp_path: Path) -> None:
        """Hybrid log-gamma: diffuse white lies at 75 % of the signal, middle grey (18 %) at about 38 %."""
        import av

        levels = [0.0, 0.38, 0.75, 1.0]
        image = np.zeros((48, 64, 3), np.uint16)
        for k, level in enumerate(levels):
            image[:, 16 * k : 16 * k + 16] = round(level * 65535)
        frame = av.VideoFrame.from_ndarray(image, format="rgb48le").reformat(
            format="yuv420p10le", dst_colorspace=9, src_color_range=2, dst_color_range=1
        )
        path = tmp_path / "hlg.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=30)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
            context = stream.codec_context
            context.color_trc, context.color_primaries, context.colorspace, context.color_range = 18, 9, 9, 1
            frame.color_trc, frame.color_primaries = 18, 9
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                container.mux(packet)
        row = next(iter(read_frames(path))).rgb[24, 8::16].astype(int)
        assert np.ptp(row, axis=1).max() <= 3  # grey stays grey
        assert row[0].max() <= 2 and 85 <= row[1, 0] <= 140 and row[2, 0] >= 235 and row[3, 0] == 255

    @pytest.mark.parametrize(("codec", "pix_fmt", "name"), [("png", "rgba", "a.mov"), ("ffv1", "bgra", "a.mkv")])
    def test_transparent_pixels_are_laid_over_black(self, tmp_path: Path, codec: str, pix_fmt: str, name: str) -> None:
        image = np.concatenate([quadrants(64, 48), np.full((48, 64, 1), 255, np.uint8)], axis=-1)
        image[:, 32:, 3] = 0
        image[24:, :32, 3] = 128
        path = write_clip(tmp_path / name, [image] * 2, codec=codec, pix_fmt=pix_fmt, bgra=True)
        half = tuple(round(v * 128 / 255) for v in BLUE)
        assert_colors(corners(next(iter(read_frames(path))).rgb), [RED, (0, 0, 0), half, (0, 0, 0)], 2)

    @pytest.mark.parametrize("pix_fmt", ["gray", "yuv411p", "yuv422p", "yuv444p16le", "gbrp10le"])
    def test_other_pixel_formats(self, tmp_path: Path, pix_fmt: str) -> None:
        path = write_clip(tmp_path / "f.mkv", [quadrants(64, 48)] * 2, codec="ffv1", pix_fmt=pix_fmt)
        found = corners(next(iter(read_frames(path))).rgb)
        if pix_fmt == "gray":
            assert all(max(c) - min(c) <= 1 for c in found)
        else:
            assert_colors(found, [RED, GREEN, BLUE, WHITE])


class TestReading:
    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(wanted=st.lists(st.integers(0, 199), min_size=1, max_size=5, unique=True).map(sorted))
    def test_any_frames_are_the_right_ones(self, long_clip: Path, wanted: list[int]) -> None:
        info = probe(long_clip, with_sha256=False)
        frames = list(read_frames(long_clip, wanted, info))
        assert [f.index for f in frames] == wanted
        assert [number_of(f.rgb) for f in frames] == wanted
        assert [f.time_s for f in frames] == [info.times_s[i] for i in wanted]

    def test_a_late_start_gives_the_same_pixels(self, long_clip: Path) -> None:
        info = probe(long_clip)
        late = list(read_frames(long_clip, range(150, 200), info))
        plain = list(read_frames(long_clip))[150:]
        assert [f.index for f in late] == [f.index for f in plain] == list(range(150, 200))
        for a, b in zip(late, plain, strict=True):
            np.testing.assert_array_equal(a.rgb, b.rgb)

    def test_without_facts(self, long_clip: Path) -> None:
        assert [(f.index, number_of(f.rgb)) for f in read_frames(long_clip, [0, 120])] == [(0, 0), (120, 120)]

    def test_nothing_wanted(self, long_clip: Path) -> None:
        assert list(read_frames(long_clip, [])) == []

    def test_frames_come_one_by_one(self, long_clip: Path) -> None:
        with contextlib.closing(read_frames(long_clip)) as frames:
            assert next(frames).index == 0

    @pytest.mark.parametrize("wanted", [[3, 3], [5, 2], [-1, 4]])
    def test_unsorted_numbers_are_refused(self, long_clip: Path, wanted: list[int]) -> None:
        with pytest.raises(InputError, match="must ascend"):
            list(read_frames(long_clip, wanted))

    def test_frames_beyond_the_end(self, long_clip: Path) -> None:
        with pytest.raises(InputError, match="has 200 frames; frame 200 does not exist"):
            list(read_frames(long_clip, [200], probe(long_clip)))
        with pytest.raises(InputError, match="only 200 frames can be decoded"):
            list(read_frames(long_clip, [300]))

    def test_thumbnails(self, long_clip: Path) -> None:
        small = list(read_thumbnails(long_clip, 32, 24))
        assert len(small) == 200
        assert small[0].shape == (24, 32, 3)


class TestBadFiles:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"nowhere\.mp4 does not exist; expected a video file"):
            probe(tmp_path / "nowhere.mp4")

    def test_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="is a folder; expected one video file"):
            probe(tmp_path)

    def test_empty(self, tmp_path: Path) -> None:
        (tmp_path / "e.mp4").write_bytes(b"")
        with pytest.raises(InputError, match="is empty"):
            probe(tmp_path / "e.mp4")

    @pytest.mark.parametrize("name", ["t.mp4", "t.txt", "t.nfo"])
    def test_text(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_text("This is a letter.\n" * 40)
        with pytest.raises(InputError, match="is a text file, not a video"):
            probe(tmp_path / name)

    def test_noise(self, tmp_path: Path) -> None:
        (tmp_path / "n.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
        with pytest.raises(
            InputError, match=r"cannot be read as a video|no frame of it can be decoded|no video stream"
        ):
            probe(tmp_path / "n.mp4")

    def test_audio_only(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"has no video stream \(found: audio\)"):
            probe(write_audio_only(tmp_path / "a.m4a"))

    def test_index_missing(self, tmp_path: Path, long_clip: Path) -> None:
        data = long_clip.read_bytes()
        (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
        with pytest.raises(InputError, match=r"index .* is missing: the recording or the copy was cut short"):
            probe(tmp_path / "cut.mp4")

    @pytest.mark.parametrize("share", [0.4, 0.7, 0.95])
    def test_cut_short_after_the_index(self, tmp_path: Path, share: float) -> None:
        options = {"movflags": "+faststart"}
        whole = write_clip(tmp_path / "whole.mp4", noisy(60), container_options=options, options={"g": "12"})
        data = whole.read_bytes()
        path = tmp_path / "cut.mp4"
        path.write_bytes(data[: int(len(data) * share)])
        info = probe(path)
        assert 0 < info.num_frames < 60
        assert f"{info.num_frames} " in info.damage
        assert [number_of(f.rgb) for f in read_frames(path, None, info)] == list(range(info.num_frames))

    def test_damaged_in_the_middle(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "d.mp4", noisy(60), options={"g": "10"})
        data = bytearray(path.read_bytes())
        middle = len(data) // 2
        data[middle : middle + 400] = np.random.default_rng(1).bytes(400)
        path.write_bytes(bytes(data))
        info = probe(path)
        decoded = list(read_frames(path, None, info))
        assert info.num_frames == len(decoded) >= 40
        assert [number_of(f.rgb) for f in decoded[:10]] == list(range(10))

    def test_nothing_decodable(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "z.mp4", [numbered(i) for i in range(5)])
        data = path.read_bytes()
        start = data.index(b"mdat") + 4
        stop = data.index(b"moov") - 4
        path.write_bytes(data[:start] + bytes(stop - start) + data[stop:])
        with pytest.raises(InputError, match="no frame of it can be decoded"):
            probe(path)


class TestWriter:
    @pytest.mark.parametrize("size", [(64, 48), (63, 47)])
    def test_what_is_written_can_be_read(self, tmp_path: Path, size: tuple[int, int]) -> None:
        path = tmp_path / "w.mp4"
        with VideoWriter(path, 24000 / 1001, *size) as video:
            for _ in range(5):
                video.write(quadrants(*size))
        info = probe(path)
        assert (info.num_frames, info.codec) == (5, "h264")
        assert (info.width_px, info.height_px) == (64, 48)
        assert info.fps_hz == pytest.approx(24000 / 1001, rel=1e-4)
        assert_colors(corners(next(iter(read_frames(path))).rgb), [RED, GREEN, BLUE, WHITE])
        assert [p.name for p in tmp_path.iterdir()] == ["w.mp4"]

    def test_a_bit_rate_is_kept(self, tmp_path: Path):
        rng = np.random.default_rng(0)
        frames = [rng.integers(0, 255, (120, 160, 3), dtype=np.uint8) for _ in range(12)]
        sizes = {}
        for rate in (400_000, 1_600_000):
            path = tmp_path / f"{rate}.mp4"
            with VideoWriter(path, 24, 160, 120, bitrate_bps=rate) as video:
                for frame in frames * 6:
                    video.write(frame)
            sizes[rate] = path.stat().st_size * 8 / 3.0
        for rate, found in sizes.items():
            assert 0.6 * rate < found < 1.6 * rate

    def test_an_error_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError, match="stop"), VideoWriter(tmp_path / "w.mp4", 30, 64, 48) as video:
            video.write(quadrants(64, 48))
            raise RuntimeError("stop")
        assert list(tmp_path.iterdir()) == []

    def test_frames_of_another_size_are_refused(self, tmp_path: Path) -> None:
        with (
            pytest.raises(InputError, match=r"expected uint8 of shape \(48, 64, 3\), got uint8 \(32, 64, 3\)"),
            VideoWriter(tmp_path / "w.mp4", 30, 64, 48) as video,
        ):
            video.write(quadrants(64, 32))
        assert list(tmp_path.iterdir()) == []
