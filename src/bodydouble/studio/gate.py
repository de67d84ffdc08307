"""Who may talk to the studio: only a browser on this machine that knows the token of this start.

A web page from anywhere can make a browser send requests to 127.0.0.1, and any user of the machine can connect to its
ports. So every request, the page's and the socket's alike, is looked at before the server answers it: it must name a
loopback host (else a page that rebinds its own name to 127.0.0.1 gets in), come from the studio's own page if it says
where it comes from (else any page could open the socket), and carry the token.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
_TOKEN_BYTES = 24


def new_token() -> str:
    """A fresh secret that fits into a URL."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What becomes of a request."""

    allowed: bool
    reason: str = ""
    """For the browser, when it is refused."""
    cookie: str = ""
    """To be set with the answer: the page was opened by its URL, and its socket will come with the cookie alone."""


class Gate:
    """Judges requests by their address and their headers."""

    def __init__(self, token: str) -> None:
        """
        Args:
            token: What a request must carry.
        """
        self._token = token

    def judge(self, path: str, headers: Sequence[tuple[str, str]]) -> Verdict:
        """Whether a request is answered.

        Args:
            path: With its query, as in the request line.
            headers: Names (in any case) and values, in order, repeated ones included.
        """
        hosts, origins = _values(headers, "host"), _values(headers, "origin")
        if len(hosts) != 1 or _loopback_name(hosts[0]) is None:
            return _refused("The studio answers on this machine only: open the address that the command printed.")
        if len(origins) > 1 or (origins and _authority(origins[0]) != hosts[0].lower()):
            return _refused("The studio takes no requests from other pages.")
        name = cookie_name(hosts[0])
        if self._matches(_query_token(path)):
            return Verdict(allowed=True, cookie=f"{name}={self._token}; Path=/; HttpOnly; SameSite=Strict")
        if any(self._matches(value) for value in _cookies(headers, name)):
            return Verdict(allowed=True)
        return _refused("The token is missing or of an earlier start: open the address that the command printed.")

    def _matches(self, found: str) -> bool:
        return hmac.compare_digest(found.encode("utf-8", "replace"), self._token.encode())


def cookie_name(host: str) -> str:
    """Of the cookie for a host as the browser names it. Browsers keep cookies per name, not per port, so it has the port."""
    port = urlsplit(f"//{host}").port
    return f"bodydouble-{port or 80}"


def _refused(reason: str) -> Verdict:
    return Verdict(allowed=False, reason=reason)


def _values(headers: Sequence[tuple[str, str]], wanted: str) -> list[str]:
    return [value.strip() for name, value in headers if name.lower() == wanted]


def _loopback_name(host: str) -> str | None:
    """The host's name if it is one of this machine itself."""
    try:
        parts = urlsplit(f"//{host}")
        name, _ = parts.hostname, parts.port
    except ValueError:
        return None
    return name if name in LOOPBACK_NAMES and "@" not in host and not parts.path and not parts.query else None


def _authority(origin: str) -> str | None:
    """Host and port of an origin; none for `null`, other schemes and nonsense."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme == "http" and not parts.path else None


def _query_token(path: str) -> str:
    found = parse_qs(urlsplit(path).query).get("token", [])
    return found[0] if len(found) == 1 else ""


def _cookies(headers: Sequence[tuple[str, str]], name: str) -> list[str]:
    """Values of a cookie. Split by hand: other programs' odd cookies on this host must not spoil ours."""
    pairs = (pair.strip().partition("=") for line in _values(headers, "cookie") for pair in line.split(";"))
    return [value for found, _, value in pairs if found == name]
