"""README and docs: links that lead somewhere, and standards as the code has them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
PACKAGES = ("posttrail", "journal", "milterd", "query")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_standards_name_every_rfc_of_the_code_and_its_module() -> None:
    cited: dict[str, set[str]] = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for rfc in re.findall(r"RFC \d{4}", path.read_text("utf-8")):
                cited.setdefault(rfc, set()).add(str(path.relative_to(ROOT)))
    rows = re.findall(r"^\| (.*?) \| .* \| (.*?) \|$", _standards(), re.M)
    named: dict[str, set[str]] = {}
    for standard, modules in rows:
        for rfc in re.findall(r"RFC \d{4}", standard):
            named.setdefault(rfc, set()).update(re.findall(r"`([\w/]+\.py)`", modules))
    assert set(cited) <= set(named)
    wrong = {rfc: named[rfc] - cited[rfc] for rfc in cited if not named[rfc] & cited[rfc]}
    assert wrong == {}
    assert all((ROOT / module).exists() for modules in named.values() for module in modules)


def _standards() -> str:
    return (ROOT / "docs" / "standards.md").read_text("utf-8")
