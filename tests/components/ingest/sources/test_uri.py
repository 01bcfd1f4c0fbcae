"""Data URIs: their meaning, and the message for a wrong data URI."""

from pathlib import Path

import pytest

from components.ingest.sources.uri import absolute_sources, parse_sources
from components.shared.errors import InputError


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("", "data is ''"),
        ("tiles?layuot=ccic", "unknown option 'layuot=ccic'; use one of layout, group_pattern, source"),
        ("tiles?layout=cick", "unknown layout 'cick'; use one of auto, ccic, sdnet2018, folders"),
        ("tiles?group_pattern=DSC", "its group_pattern 'DSC' has no capturing group"),
        ("tiles?group_pattern=(", "not a regular expression"),
        ("tiles?source=", "its option source is empty"),
        ("tiles?all=sound", "its option all is 'sound'; give no_crack or crack"),
        ("tiles?all=no_crack&layout=ccic", "the same class, so the option `layout` has no meaning; remove"),
        ("tiles?all=no_crack&classes=Rust:no_crack", "has no meaning; remove `classes`"),
        ("synthetic://?images=60&all=crack", "synthetic tiles have both classes; remove the option all"),
        ("https://host/a.zip", "add the archive's checksum (64 hex digits): https://host/a.zip#sha256="),
        ("https://host/a.zip#sha256=12", "add the archive's checksum"),
        ("http://host/a.zip#sha256=" + "0" * 64, "http:// is allowed only for a server on this machine; use https://"),
        ("https://ada:secret@host/a.zip#sha256=" + "0" * 64, "'https://…@host/a.zip#sha256=0"),
    ],
)
def test_wrong_uris_are_explained(uri: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_sources(uri)
    assert message in str(caught.value)


def test_address_keeps_its_own_query() -> None:
    (source,) = parse_sources(f"https://host/get?id=7&layout=ccic&key=a%20b#sha256={'A' * 64}")
    assert (source.location, source.options) == ("https://host/get?id=7&key=a%20b", {"layout": "ccic"})
    assert source.sha256 == "a" * 64


def test_paths_are_made_absolute_and_mean_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("plain", "odd, name?"):
        (tmp_path / name).mkdir()
    odd = (tmp_path / "odd, name?").as_uri()
    absolute = absolute_sources(rf"plain?group_pattern=^(\d+)%2C {odd},s3://bucket/prefix")
    first, second, third = parse_sources(absolute)

    assert (first.location, first.options) == (str(tmp_path / "plain"), {"group_pattern": r"^(\d+),"})
    assert second.location == str(tmp_path / "odd, name?")
    assert third.location == "s3://bucket/prefix"
    (alone,) = parse_sources(absolute_sources("odd, name?"))
    assert alone.location == str(tmp_path / "odd, name?")
    with pytest.raises(InputError, match="data gone does not exist"):
        absolute_sources("plain,gone")
