"""Which pages may ask: those that are named, and none that only looks like one of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.origins import AllowedOrigins


@pytest.mark.parametrize(
    ("entry", "allowed", "refused"),
    [
        (
            "https://app.example",
            ["https://app.example"],
            [
                *("http://app.example", "https://app.example:8443", "https://app.example.evil", "https://appxexample"),
                *("https://evil.example/https://app.example", "https://app.example/", "https://app.example\n", "null"),
                *("https://app.example, https://app.example", "https://evilapp.example", "https://APP.example"),
            ],
        ),
        ("HTTPS://App.Example:443", ["https://app.example"], ["https://app.example:443"]),
        ("http://app.example:80", ["http://app.example"], ["http://app.example:80"]),
        ("http://localhost:8080", ["http://localhost:8080"], ["http://localhost", "http://localhost:80800"]),
        ("http://[::1]:8080", ["http://[::1]:8080"], ["http://[::1]"]),
        ("capacitor://localhost", ["capacitor://localhost"], ["http://localhost"]),
        (
            "https://*.example.com",
            ["https://a.example.com", "https://a.b.example.com", "https://xn--bcher-kva.example.com"],
            [
                *("https://example.com", "https://.example.com", "https://evilexample.com", "http://a.example.com"),
                *("https://evil.net/a.example.com", "https://a.example.com:8443", "https://a.example.com.evil.net"),
                *("https://u@a.example.com", "https://evil.net:1#.example.com", "https://a\\.example.com"),
            ],
        ),
        (
            "https://preview-*.example.com:8443",
            ["https://preview-17.example.com:8443"],
            ["https://preview-.example.com:8443", "https://preview-17.example.com", "https://17.example.com:8443"],
        ),
    ],
)  # fmt: skip
def test_an_entry_allows_its_own_pages_and_no_others(
    entry: str, allowed: list[str], refused: list[str]
) -> None:
    origins = AllowedOrigins([entry])
    assert [origin for origin in allowed if not origins.allows(origin)] == []
    assert [origin for origin in refused if origins.allows(origin)] == []
    assert not origins.are_all


@pytest.mark.parametrize(
    "entry",
    [
        *("", "app.example", "https://", "https://app.example/", "https://app.example/path", "//app.example", "null"),
        *("https://*", "https://*example.com", "https://*.*.com", "https://a*b.example", "*://app.example"),
        *("https://app.example:*", "https://app.example:", "https://b\u00fccher.example", "https://a b", "**", "https://[::1"),
    ],
)  # fmt: skip
def test_what_no_browser_sends_or_allows_too_much_is_refused_with_what_to_write(entry: str) -> None:
    with pytest.raises(ValueError, match=r"is no origin: write scheme, host"):
        AllowedOrigins([entry])


def test_a_star_allows_everything_also_next_to_others() -> None:
    for entries in (["*"], ["https://app.example", "*"]):
        origins = AllowedOrigins(entries)
        assert origins.are_all
        assert origins.allows("https://evil.example")


def test_without_an_origin_there_is_no_page_and_nothing_to_refuse() -> None:
    assert AllowedOrigins(["https://app.example"]).allows("")


def test_an_empty_list_allows_no_page() -> None:
    origins = AllowedOrigins([])
    assert origins.allows("")
    assert not origins.allows("https://app.example")


@given(st.text(max_size=40))
def test_no_text_passes_for_a_page_below_a_domain_unless_it_is_one(text: str) -> None:
    origin = f"https://{text}.example.com"
    is_name = bool(text) and all(letter in "abcdefghijklmnopqrstuvwxyz0123456789._-" for letter in text)
    assert AllowedOrigins(["https://*.example.com"]).allows(origin) == is_name
