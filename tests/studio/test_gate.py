"""Who may talk to the studio."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.studio.gate import Gate, cookie_name, new_token

TOKEN = "a-token-of-this-start"
HOST = ("Host", "127.0.0.1:8123")


def judge(path: str, *headers: tuple[str, str]):
    return Gate(TOKEN).judge(path, headers)


def test_the_address_opens_the_page_and_sets_a_cookie_that_opens_the_socket() -> None:
    page = judge(f"/?token={TOKEN}", HOST)
    assert page.allowed
    assert "HttpOnly" in page.cookie
    assert "SameSite=Strict" in page.cookie
    cookie = page.cookie.partition(";")[0]
    socket = judge("/", HOST, ("Origin", "http://127.0.0.1:8123"), ("Cookie", f"other=1; {cookie}"))
    assert socket.allowed
    assert socket.cookie == ""


@pytest.mark.parametrize("host", ["127.0.0.1:8123", "localhost:8123", "[::1]:8123", "localhost"])
def test_loopback_by_any_of_its_names(host: str) -> None:
    assert judge(f"/?token={TOKEN}", ("host", host)).allowed


@pytest.mark.parametrize(
    "path", ["/", "/?token=", "/?token=wrong", f"/?token={TOKEN}x", f"/?token={TOKEN}&token=wrong", f"/{TOKEN}"]
)
def test_no_token_no_entrance(path: str) -> None:
    verdict = judge(path, HOST)
    assert not verdict.allowed
    assert "open the address that the command printed" in verdict.reason
    assert TOKEN not in verdict.reason


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example:8123",
        "192.168.1.7:8123",
        "0.0.0.0:8123",
        "127.0.0.1@evil.example",
        "",
        "[::1",
        "localhost:x",
    ],
)
def test_a_name_that_was_rebound_to_this_machine_is_refused(host: str) -> None:
    assert not judge(f"/?token={TOKEN}", ("Host", host)).allowed


def test_no_host_or_two_are_refused() -> None:
    assert not judge(f"/?token={TOKEN}").allowed
    assert not judge(f"/?token={TOKEN}", HOST, ("Host", "evil.example")).allowed


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:8123", "http://127.0.0.1:9999", "http://localhost:8123", "file://"]
)  # fmt: skip
def test_pages_from_elsewhere_cannot_open_the_socket_even_with_the_cookie(origin: str) -> None:
    cookie = ("Cookie", f"{cookie_name(HOST[1])}={TOKEN}")
    assert judge("/", HOST, cookie).allowed
    assert not judge("/", HOST, cookie, ("Origin", origin)).allowed


def test_the_cookie_of_another_port_or_start_does_not_count() -> None:
    assert not judge("/", HOST, ("Cookie", f"bodydouble-9999={TOKEN}")).allowed
    assert not judge("/", HOST, ("Cookie", "bodydouble-8123=of-yesterday")).allowed


def test_odd_cookies_of_other_programs_do_no_harm() -> None:
    line = f'weird[]="{{a;b=;=c; {cookie_name(HOST[1])}={TOKEN}; d'
    assert judge("/", HOST, ("Cookie", line)).allowed


@settings(deadline=None, max_examples=25)
@given(path=st.text(max_size=80), host=st.text(max_size=40), origin=st.text(max_size=40), cookie=st.text(max_size=60))
def test_whatever_comes_is_judged_without_an_error(path: str, host: str, origin: str, cookie: str) -> None:
    verdict = judge(path, ("Host", host), ("Origin", origin), ("Cookie", cookie))
    assert not verdict.allowed


def test_tokens_are_long_fresh_and_fit_into_a_url() -> None:
    tokens = {new_token() for _ in range(20)}
    assert len(tokens) == 20
    assert all(len(token) >= 32 and token.replace("-", "").replace("_", "").isalnum() for token in tokens)
