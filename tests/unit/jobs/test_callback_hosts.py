from ipaddress import ip_address

import pytest

from jobs.callback_hosts import AllowedHosts
from storage.errors import ConfigurationError

_HOSTS = AllowedHosts.parse("hooks.example.org, *.example.net,10.1.0.0/16")


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://hooks.example.org", ("hooks.example.org", 443, "/")),
        ("https://HOOKS.example.org:8443/a/b?c=d", ("hooks.example.org", 8443, "/a/b?c=d")),
        ("https://a.b.example.net/", ("a.b.example.net", 443, "/")),
        ("https://10.1.2.3/", ("10.1.2.3", 443, "/")),
    ],
)
def test_a_named_host_is_a_target(url: str, target: tuple[str, int, str]) -> None:
    found = _HOSTS.find_target(url)
    assert (found.host, found.port, found.path) == target


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://hooks.example.org/",
            "ftp://hooks.example.org/",
            "file://localhost/weather.nc",
            "hooks.example.org",
            "",
            "https://",
        ),
        *("https://user@hooks.example.org/", "https://hooks.example.org@evil.org/", "https://hooks.example.org/#a"),
        *(
            "https://example.net/",
            "https://example.org/",
            "https://evilexample.net/",
            "https://hooks.example.org.evil.org/",
        ),
        *("https://10.2.0.1/", "https://127.0.0.1/", "https://[::1]/", "https://hooks.example.org:0/", "https://[::"),
        *(
            "https://hooks.example.org\\@evil.org/",
            "https://hooks.example.org/a b",
            "https://hooks.example.org/\r\nHost: a",
        ),
        *("https://hooks.example.org:99999/", "https://hööks.example.org/"),
        *(f"https://{'a' * 64}.example.net/", f"https://{'a.' * 130}example.net/", "https://a..example.net/"),
    ],
)
def test_another_url_is_refused_without_its_path(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        _HOSTS.find_target(url)
    assert refused.value.location == ("callback", "url")


def test_nothing_is_allowed_by_default() -> None:
    with pytest.raises(ConfigurationError, match="sends no callbacks"):
        AllowedHosts.parse("").find_target("https://hooks.example.org/")


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *(
            "255.255.255.255",
            "192.0.2.1",
            "198.18.0.1",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
        ),
        *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "2002:7f00:1::"),
        *("2001:0:1::1", "::7f00:1", "2001:db8::1"),
    ],
)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not AllowedHosts.parse("*").allows_address(ip_address(address))


def test_public_addresses_and_named_networks_are_allowed() -> None:
    everything = AllowedHosts.parse("*")
    assert all(everything.allows_address(ip_address(each)) for each in ("8.8.8.8", "2606:4700::1111"))
    assert all(_HOSTS.allows_address(ip_address(each)) for each in ("10.1.2.3", "::ffff:10.1.2.3"))
    assert not _HOSTS.allows_address(ip_address("10.2.0.1"))


@pytest.mark.parametrize("text", ["a b", "10.0.0.0/33", "https://a", "a*", "*.", "10.0.0.1/8"])
def test_a_wrong_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        AllowedHosts.parse(text)
