"""An avatar as one web page that works from a file, without any request to anywhere.

The page's program is written in TypeScript (`web/`), bundled once by `make web` into `page_assets`, and put into every
page together with the avatar's data. A content security policy in the page forbids requests of any kind, and scripts
and styles other than these by their digests.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bodydouble.avatar.export.page_data import page_data
from bodydouble.avatar.export.page_schema import PageNotice
from bodydouble.avatar.export.vrm import VrmMeta
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.values import Avatar
from bodydouble.core.errors import InputError, MissingDependencyError

ASSETS = Path(__file__).parent / "page_assets"
_FILES = ("page.html", "page.css", "page.js", "licences.txt")
_COMMERCIAL = {
    "personalNonProfit": "no commercial use",
    "personalProfit": "commercial use by persons allowed",
    "corporation": "commercial use allowed",
}
_PERMISSION = {
    "onlyAuthor": "To be used by its author only",
    "onlySeparatelyLicensedPerson": "To be used with a licence only",
    "everyone": "Everyone may use it",
}
_MODIFICATION = {
    "prohibited": "no changes",
    "allowModification": "changes allowed",
    "allowModificationRedistribution": "changes allowed and may be passed on",
}


@dataclass(frozen=True, kw_only=True)
class PageBundle:
    """The built program of the page."""

    template: str
    style: str
    script: str
    licences: str


def load_bundle(folder: Path = ASSETS) -> PageBundle:
    """The program of the page as `make web` left it.

    Raises:
        MissingDependencyError: When it was not built.
    """
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise MissingDependencyError(
            f"The web page's program is not built: {', '.join(missing)} missing in {folder}. Run `make web` in a clone of "
            "bodydouble (it needs Node.js 20 and npm), or install a released wheel, which has it inside."
        )
    template, style, script, licences = ((folder / name).read_text(encoding="utf-8") for name in _FILES)
    return PageBundle(template=template, style=style, script=script, licences=licences)


def avatar_to_html(avatar: Avatar, motions: Sequence[Motion], meta: VrmMeta, bundle: PageBundle | None = None) -> bytes:
    """One self-contained page that shows an avatar, poses it and plays motions.

    Args:
        avatar: With a mesh, splats, or both.
        motions: On the avatar's rig, in the order of the page's list; the page begins with the first.
        meta: Title, authors, consent and permissions that the page shows.
        bundle: The page's program; by default the built one.
    Returns:
        UTF-8 HTML. Texts of the avatar are escaped; they can neither become markup nor script.
    Raises:
        InputError: When there is nothing to show, or the motion is of another rig.
        MissingDependencyError: When the program was not built.
    """
    if avatar.mesh is None and avatar.splats is None:
        raise InputError("The avatar holds neither splats nor a mesh: there is nothing to show. Create it again.")
    bones = len(avatar.rig.bone_names)
    for motion in motions:
        if motion.rotvecs.shape[1] != bones:
            raise InputError(
                f"The motion {motion.name!r} has {motion.rotvecs.shape[1]} bones, the avatar {bones}; retarget it first."
            )
    bundle = load_bundle() if bundle is None else bundle
    notice = page_notice(avatar, meta)
    data, packed = page_data(avatar, motions, notice)
    values = {
        "policy": _policy(bundle),
        "title": html.escape(notice.title, quote=True),
        "style": bundle.style,
        "script": bundle.script,
        "licences": html.escape(bundle.licences),
        "description": _json_in_html(dataclasses.asdict(data)),
        "data": base64.b64encode(zlib.compress(packed, 9)).decode("ascii"),
    }
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: values[match.group(1)], bundle.template)
    return page.encode("utf-8")


def page_notice(avatar: Avatar, meta: VrmMeta) -> PageNotice:
    """What the page says about whose double it shows."""
    redistribution = "may be passed on" if meta.allow_redistribution else "not to be passed on"
    permissions = (
        f"{_PERMISSION[meta.avatar_permission]}; {_COMMERCIAL[meta.commercial_usage]}; "
        f"{_MODIFICATION[meta.modification]}; {redistribution}."
    )
    return PageNotice(
        title=meta.name,
        authors=tuple(meta.authors),
        copyright=meta.copyright,
        consent=meta.consent,
        permissions=permissions,
        made_with=avatar.provenance.generator,
    )


def _policy(bundle: PageBundle) -> str:
    """Nothing may be fetched; only the page's own script and style may run, known by their digests."""

    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"

    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {digest(bundle.script)} 'wasm-unsafe-eval'",  # the splats' sorter is WebAssembly inside the script
            "worker-src blob:",  # and runs in a worker made from the script's own text
            f"style-src {digest(bundle.style)}",
            "img-src data: blob:",
            "connect-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _json_in_html(value: object) -> str:
    """JSON that can stand inside a script element: no character of markup is left as it is."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
