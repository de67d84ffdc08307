"""The named protocols: ours, and those of published systems, each as its source defines it."""

from __future__ import annotations

from bodydouble.core.errors import ConfigError
from bodydouble.evaluate.geometry_protocol import VID2AVATAR_GEOMETRY, GeometryProtocol
from bodydouble.evaluate.picture_protocol import DetailRule, LpipsRule, PictureProtocol, PictureRule
from bodydouble.evaluate.protocol import HELDOUT_V1, HeldoutProtocol
from bodydouble.evaluate.splits import EveryNth, EverySecondOne, NeumanSplit, SubjectRange, SubjectRanges
from bodydouble.evaluate.ssim import SSIM_OURS, SSIM_SKIMAGE_RANGE_2, SSIM_TORCHMETRICS, SSIM_ZERO_PADDED

_DETAIL = DetailRule(foot_growth=0.5, boundary_tolerance_heights=0.005, flip_pixels_per_degree=67.0)
_PUBLISHED = ("psnr_full", "ssim_full", "lpips_full")

BODYDOUBLE_V1 = PictureProtocol(
    name="bodydouble-v1",
    source="this program, on the split, boxes and poses of heldout-v1.",
    split=EveryNth(every=HELDOUT_V1.every, remainder=HELDOUT_V1.remainder),
    poses=("fit", "outlined", "interpolated", "registered"),
    base=HELDOUT_V1,
    picture=PictureRule(
        background=(0.0, 0.0, 0.0),
        truth_mask="soft",
        prediction_mask="none",
        prediction_box=False,
        scale=1.0,
        resample="area",
        eight_bit=False,
    ),
    metrics=(
        *("psnr_box", "ssim_box", "flip_box", "lpips_box", "ms_ssim_crop", "psnr_hands", "ssim_hands", "flip_hands"),
        *("psnr_face", "ssim_face", "flip_face", "psnr_feet", "ssim_feet", "flip_feet", "psnr_full", "ssim_full"),
        *("mask_iou", "mask_precision", "mask_recall", "mask_f1", "boundary_f", "flicker_box"),
    ),
    psnr="pooled",
    ssim=SSIM_OURS,
    lpips=LpipsRule(network="alex", expects_signed=True, factor=1.0),
    detail=_DETAIL,
    notes=(
        (
            "Differs from heldout-v1: there the avatar is rendered at the size of the square; here its picture at the video's "
            "size, as 8-bit RGBA, is cut and resampled as the frame is, so that anybody's pictures are scored by the same code."
        ),
    ),
)

EVA = PictureProtocol(
    name="eva",
    source="EVA (arXiv 2407.03204) and its released code, which follows GauHuman's training report.",
    split=EverySecondOne(first=1),
    poses=("fit",),
    base=HELDOUT_V1,
    picture=PictureRule(
        background=(0.0, 0.0, 0.0),
        truth_mask="soft",
        prediction_mask="none",
        prediction_box=True,
        scale=1.0,
        resample="area",
        eight_bit=False,
    ),
    metrics=_PUBLISHED,
    psnr="channels",
    ssim=SSIM_ZERO_PADDED,
    lpips=LpipsRule(network="vgg", expects_signed=False, factor=1000.0),
    detail=_DETAIL,
    notes=(
        (
            "Test poses are not optimised on the picture; the source aligns SMPL-X to landmarks of the test frame and adds a "
            "trained correction. The nearest of ours is the fit's pose."
        ),
        (
            "The source replaces the prediction outside the projected box of the posed body (5 cm wider); here outside the "
            "mask's box, which needs no body model."
        ),
        (
            "The split is that of its web videos (140 of 280 frames, alternating); that of X-Humans (20 frames of other takes, "
            "at rate 5) names neither takes nor cameras. How the paper cut hands and faces is not published, so they are absent."
        ),
        "That LPIPS is printed times 1000 is inferred from the size of the figures.",
    ),
)

WILDAVATAR = PictureProtocol(
    name="wildavatar",
    source="WildAvatar (arXiv 2407.02165) and its toolbox, the test of the GauHuman baseline.",
    split=EverySecondOne(first=1),
    poses=("fit",),
    base=HELDOUT_V1,
    picture=PictureRule(
        background=(0.0, 0.0, 0.0),
        truth_mask="binary",
        prediction_mask="none",
        prediction_box=False,
        scale=1.0,
        resample="area",
        eight_bit=False,
    ),
    metrics=_PUBLISHED,
    psnr="channels",
    ssim=SSIM_SKIMAGE_RANGE_2,
    lpips=LpipsRule(network="vgg", expects_signed=False, factor=1.0),
    detail=_DETAIL,
    notes=(
        (
            "Paper and early code test on 10 of 20 annotated frames, the released script on all 20, its training frames among "
            "them; this is the former."
        ),
        (
            "SSIM is called on floats without their range: scikit-image up to 0.19 assumed 2, newer versions refuse. The "
            "HumanNeRF baseline is scored otherwise (8 bits, range 255): do not mix."
        ),
        "Its masks are binary files, taken wherever they are not zero; soft masks are cut in the middle here.",
        "The source blackens the truth outside the projected box of the body; the mask does the same here.",
    ),
)

NEUMAN = PictureProtocol(
    name="neuman",
    source="the person-only figures on NeuMan as ExAvatar's tool prints them, which follows GaussianAvatar's.",
    split=NeumanSplit(share=5),
    poses=("registered", "fit"),
    base=HELDOUT_V1,
    picture=PictureRule(
        background=(1.0, 1.0, 1.0),
        truth_mask="binary",
        prediction_mask="truth",
        prediction_box=False,
        scale=1.0,
        resample="area",
        eight_bit=True,
    ),
    metrics=_PUBLISHED,
    psnr="pooled",
    ssim=SSIM_TORCHMETRICS,
    lpips=LpipsRule(network="alex", expects_signed=True, factor=1.0),
    detail=_DETAIL,
    notes=(
        "The mask of the truth cuts the prediction too, so nothing outside it costs anything: worth 2 dB or more.",
        "ExAvatar fits the body to test frames (worth 5 dB on one scene); its own choice is therefore the registered pose.",
        (
            "NeuMan's own paper scores person and scene together (scikit-image on 8 bits, LPIPS alex), without fitting test "
            "poses: other figures. Others use 80/10/10 splits of their own or all six scenes."
        ),
        "SSIM is torchmetrics' up to 1.4, which left 5 px of border out; later versions count it (about 0.003 lower here).",
    ),
)

PEOPLESNAPSHOT_INSTANTAVATAR = PictureProtocol(
    name="peoplesnapshot-instantavatar",
    source="InstantAvatar's eval.py and configurations for PeopleSnapshot (after Anim-NeRF).",
    split=SubjectRanges(
        ranges=(
            SubjectRange(subject="female-3-casual", first=446, last=647, step=4),
            SubjectRange(subject="female-4-casual", first=335, last=523, step=4),
            SubjectRange(subject="male-3-casual", first=456, last=675, step=4),
            SubjectRange(subject="male-4-casual", first=660, last=872, step=6),
        )
    ),
    poses=("registered", "fit"),
    base=HELDOUT_V1,
    picture=PictureRule(
        background=(1.0, 1.0, 1.0),
        truth_mask="soft",
        prediction_mask="none",
        prediction_box=False,
        scale=0.5,
        resample="bilinear",
        eight_bit=True,
    ),
    metrics=_PUBLISHED,
    psnr="pooled",
    ssim=SSIM_TORCHMETRICS,
    lpips=LpipsRule(network="alex", expects_signed=False, factor=1.0),
    detail=_DETAIL,
    notes=(
        (
            "The source optimises the poses of test frames on their pictures with the avatar frozen; the registered pose is "
            "ours. Tables of other papers on this set often do not."
        ),
        "The source renders at half size; here the picture at full size is halved as the frame is.",
        (
            "Masks are binary files halved with the frame, hence soft at the edge. Subjects other than these four have files "
            "but no published figures."
        ),
        "SSIM is torchmetrics' of that time, whole windows only; LPIPS gets [0, 1] where [-1, 1] is expected.",
    ),
)

PICTURE_PROTOCOLS: tuple[PictureProtocol, ...] = (
    BODYDOUBLE_V1,
    EVA,
    WILDAVATAR,
    NEUMAN,
    PEOPLESNAPSHOT_INSTANTAVATAR,
)
AnyProtocol = HeldoutProtocol | PictureProtocol | GeometryProtocol
PROTOCOLS: tuple[AnyProtocol, ...] = (*PICTURE_PROTOCOLS, VID2AVATAR_GEOMETRY, HELDOUT_V1)


def find_protocol(name: str) -> AnyProtocol:
    """The protocol of this name.

    Raises:
        ConfigError: When there is none; the message lists those there are.
    """
    for protocol in PROTOCOLS:
        if protocol.name == name:
            return protocol
    known = ", ".join(p.name for p in PROTOCOLS)
    raise ConfigError(f"There is no evaluation protocol named {name!r}; expected one of: {known}. Choose one of these.")
