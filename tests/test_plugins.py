"""Plugins of packages that are installed for real, in a folder on sys.path."""

import sys
from pathlib import Path

import pytest

from assay.errors import UnknownName, UsageError
from assay.plugins import describe, find, plugins, sentence


def install(site: Path, package: str, entries: str, code: str = "") -> None:
    """Put a package with entry points in place, as an installer leaves it."""
    info = site / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entries)
    (site / f"{package}.py").write_text(code)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return tmp_path


def test_a_plugin_is_found_by_its_name_and_described_by_its_docstring(site: Path):
    code = '"""walker: walks\nabout (Doe et al. 2021). Slowly."""\n\n\nclass Walker:\n    """Walks. Not fast."""\n'
    entries = "[assay.test_walkers]\nwalker = plugin_walker:Walker\nmodule = plugin_walker\nnone = plugin_walker:Run\n"
    install(site, "plugin_walker", entries, code)
    assert find("assay.test_walkers", "walker")().__class__.__name__ == "Walker"
    sentences = describe("assay.test_walkers")
    assert sentences["walker"] == "Walks."
    assert sentences["module"] == "Walks about (Doe et al. 2021)."
    assert "AttributeError" in sentences["none"]


def test_nothing_is_imported_to_name_the_plugins(site: Path):
    install(site, "plugin_broken", "[assay.test_broken]\nbad = plugin_broken\n", "raise OSError('no such luck')")
    assert list(plugins("assay.test_broken")) == ["bad"]
    with pytest.raises(UsageError, match=r"test_broken bad \(plugin_broken\) can't be imported: OSError: no such luck"):
        find("assay.test_broken", "bad")


def test_a_name_that_nobody_offers_is_refused_with_the_nearest(site: Path):
    install(site, "plugin_near", "[assay.test_boxes]\nbubble = plugin_near\n")
    with pytest.raises(UnknownName, match=r"there is no test_box 'bubbel'. Did you mean bubble\?"):
        find("assay.test_boxes", "bubbel")


def test_two_packages_cannot_offer_different_things_under_one_name(site: Path):
    for package in ("plugin_one", "plugin_two"):
        install(site, package, f"[assay.test_twins]\nsame = {package}\n")
    with pytest.raises(UsageError, match=r"plugin_one and plugin_two|plugin_two and plugin_one"):
        plugins("assay.test_twins")


def test_an_object_is_described_by_its_module(site: Path):
    install(site, "plugin_object", "[assay.test_objects]\none = plugin_object:ONE\n", '"""Is one."""\nONE = 1\n')
    assert describe("assay.test_objects") == {"one": "Is one."}


def test_a_docstring_gives_its_first_sentence():
    silent = type("Silent", (), {})
    assert (sentence(silent), sentence(test_a_docstring_gives_its_first_sentence)) == ("", "")
    silent.__doc__ = "mine/one: Follows Doe et al. 2021, e.g. in\nbrief. Then more."
    assert sentence(silent) == "Follows Doe et al. 2021, e.g. in brief."
