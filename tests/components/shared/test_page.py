import base64
import re
import subprocess
import sys
from html.parser import HTMLParser
from io import BytesIO

import pytest
from matplotlib.figure import Figure
from PIL import Image

from components.shared.page import Badge, Page, main_of

VOID = {"meta", "img", "br", "hr", "input", "link"}


class Document(HTMLParser):
    """A parser that checks that tags are closed in order, and collects what the tests look at."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def values(self, attribute: str) -> list[str]:
        return [attrs[attribute] for _, attrs in self.tags if attribute in attrs]

    def cells(self) -> list[dict]:
        return [attrs for tag, attrs in self.tags if tag == "td"]


@pytest.fixture
def written(tmp_path):
    def write(page: Page) -> Document:
        page.write(tmp_path / "page.html")
        return Document((tmp_path / "page.html").read_text(encoding="utf-8"))

    return write


def test_a_page_loads_nothing_from_elsewhere(written):
    page = Page("Drift of <cnn>")
    page.text("Some *text* with [a link](#errors).")
    page.heading("Errors")
    figure = Figure()
    figure.subplots().plot([0, 1])
    page.figure(figure, "A line", "a rising line")
    document = written(page)
    assert all(uri.startswith(("data:", "#")) for uri in document.values("src") + document.values("href"))
    assert "link" not in {tag for tag, _ in document.tags}
    assert "script" not in {tag for tag, _ in document.tags}
    assert "Drift of <cnn>" in document.text


def test_an_equal_figure_gives_the_same_bytes(written):
    sources = []
    for _ in range(2):
        figure = Figure(figsize=(3, 2))
        figure.subplots().plot([0, 1])
        page = Page("p")
        page.figure(figure, "c", "a rising line")
        document = written(page)
        sources += document.values("src")
        assert document.values("alt") == ["a rising line"]
    assert sources[0] == sources[1]
    image = Image.open(BytesIO(base64.b64decode(sources[0].removeprefix("data:image/png;base64,"))))
    assert image.width > 200


def test_everything_but_html_is_escaped(written, tmp_path):
    page = Page("<b>title</b>")
    page.heading("a & b <i>")
    page.text("text <script>alert(1)</script>")
    page.table(["<th>"], [["<script>alert(2)</script>"]], caption="<caption>")
    page.image(b"\x89PNG", "<figcaption>", 'quote " and <')
    page.html('<p class="raw">raw</p>')
    document = written(page)
    assert "script" not in {tag for tag, _ in document.tags}
    assert "<script>alert(2)</script>" in document.text
    assert 'quote " and <' in document.values("alt")
    assert "raw" in document.values("class")


def test_columns_of_numbers_are_right_aligned(written):
    page = Page("p")
    rows = [["cnn", 0.98765, "0.9 [0.85, 0.95]", 3, "1e-3"], ["vit", float("nan"), "-", 1200, None]]
    page.table(["name", "a", "b", "c", "d"], rows)
    page.table(["mixed"], [["3"], ["three"]])
    document = written(page)
    aligned = [attrs["class"] == "number" for attrs in document.cells()]
    assert aligned == [False, True, True, True, True] * 2 + [False, False]
    assert "0.9877" in document.text
    assert "nan" not in document.text


def test_badges_say_their_verdict_in_words(written):
    page = Page("p")
    page.table(["gate"], [[Badge(True)], [Badge(False, "refused <now>")]])
    document = written(page)
    assert "✓ passed" in document.text
    assert "✗ refused <now>" in document.text
    assert {"badge pass", "badge fail"} <= set(document.values("class"))


def test_contents_link_every_heading_also_later_ones_and_those_with_the_same_text(written):
    page = Page("p")
    page.contents()
    for text, level in (("Test split", 2), ("Test split", 3), ("Deep", 4), ("Größe %", 2)):
        page.heading(text, level)
    document = written(page)
    links = [link.removeprefix("#") for link in document.values("href")]
    identifiers = document.values("id")
    assert len(set(identifiers)) == 4
    assert len(links) == 3
    assert set(links) <= set(identifiers)


def test_main_of_is_the_inside_without_the_title(tmp_path):
    page = Page("The title")
    page.text("inside </main> of it")
    page.write(tmp_path / "page.html")
    inside = main_of(tmp_path / "page.html")
    assert "The title" not in inside
    assert inside == "<p>inside &lt;/main&gt; of it</p>"


def test_main_of_takes_the_body_of_another_page_and_refuses_a_text_file(tmp_path):
    (tmp_path / "foreign.html").write_text("<html><BODY class='x'><p>hello</p></body></html>".replace("BODY", "body"))
    assert main_of(tmp_path / "foreign.html") == "<p>hello</p>"
    (tmp_path / "text.html").write_text("just text")
    with pytest.raises(ValueError, match=re.escape("text.html")):
        main_of(tmp_path / "text.html")


def test_importing_the_module_loads_no_matplotlib():
    code = "import sys, components.shared.page; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_fold_is_closed_and_listed_in_the_contents(written):
    page = Page("p")
    page.contents()
    with page.fold("Numbers") as outer:
        page.text("inside")
        with page.fold("Numbers", 3) as inner:
            page.text("deeper")
    document = written(page)
    folds = [attrs for tag, attrs in document.tags if tag == "details"]
    assert len(folds) == 2
    assert all("open" not in attrs for attrs in folds)
    assert document.values("href") == [f"#{outer}", f"#{inner}"]
    assert {outer, inner} == set(document.values("id"))
    assert all("src" not in attrs for tag, attrs in document.tags if tag == "script")
