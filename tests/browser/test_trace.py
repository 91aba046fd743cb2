"""Address Trace as a drawn tree, on its page and beside a report; and the sent summary."""

from playwright.sync_api import expect

from tests.browser.conftest import Visit


def test_an_alias_is_drawn_with_its_branches(visit: Visit) -> None:
    page = visit("/trace").page
    page.get_by_label("Address").fill("team@example.com")
    page.get_by_role("button", name="Trace").click()
    tree = page.locator("ul.tree")
    root = tree.locator("> .node")
    expect(root.locator("> .step strong")).to_have_text("team@example.com")
    branches = root.locator("> ul > .node")
    people = [
        "".join(text.split()) for text in branches.locator("> .step strong").all_inner_texts()
    ]
    assert sorted(people) == ["alice@example.com", "bob@example.com", "carol@example.com"]
    box, child = root.locator("> .step").bounding_box(), branches.first.bounding_box()
    assert box is not None
    assert child is not None
    assert child["x"] > box["x"]  # indented
    assert child["y"] >= box["y"] + box["height"] - 1  # and below
    branches.first.get_by_role("link", name="details").first.click()
    expect(page.get_by_role("heading", name="Timeline")).to_be_visible()


def test_nobody_there_is_said(visit: Visit) -> None:
    page = visit("/trace?address=nobody.here@example.com").page
    expect(page.locator("ul.tree .verdict").first).to_be_visible()
    expect(page.locator("ul.tree")).to_contain_text("unknown", ignore_case=True)


def test_the_tree_stands_beside_the_report_of_an_address(visit: Visit) -> None:
    page = visit("/?q=team@example.com").page
    expect(page.locator("section.beside ul.tree")).to_contain_text("carol@example.com")


def test_without_scripts_a_link_leads_to_the_tree(visit: Visit) -> None:
    page = visit("/?q=team@example.com", java_script_enabled=False).page
    page.locator("section.beside").get_by_role("link", name="Address Trace").click()
    expect(page.locator("ul.tree")).to_contain_text("carol@example.com")


def test_the_summary_counts_what_was_sent(visit: Visit) -> None:
    page = visit("/summary").page
    page.locator("select[name=by]").select_option("sender")
    page.get_by_role("button", name="Show").click()
    alice = page.locator("table.summary tbody tr", has_text="alice@example.com")
    assert int(alice.locator("td").first.inner_text()) >= 3
