"""Test the report and its summary, which are written from the candidates' dossiers."""

import re

BOTH = {"cnn": False, "vit": True}


def test_the_summary_holds_the_numbers_after_fine_tuning(report):
    _, summary = report(BOTH, "vit")
    cnn = summary["candidates"]["cnn"]
    deployed = {"recall_at_threshold": 0.9625, "specificity_at_threshold": None, "review_share": None}
    assert cnn["test"] == {"accuracy": 0.9625, "f1": 0.95, "auroc": None} | deployed
    assert cnn["robustness"]["accuracy"] == 0.8125
    assert cnn["passed"] is False
    assert cnn["verdict"][0]["why"].startswith("Recall on test is 0.61")
    assert summary["winner"] == "vit"
    assert summary["model"] == {"name": "crack-classifier", "version": "3", "alias": "challenger"}
    assert (summary["dataset_digest"], summary["seed"], summary["images"]) == ("d" * 64, 1, 600)


def test_the_page_starts_with_the_outcome_and_the_wrong_answers_and_then_shows_every_part(report):
    page, summary = report(BOTH, "vit")
    assert summary["outcome"] == "The network vit was registered as crack-classifier version 3 (challenger)"
    shown = [summary["outcome"], "crack-pipeline promote 3", "Because of this.", "No champion yet."]
    shown += ["after the &lt;spring&gt; inspection", "Cracks that vit misses", "False alarms of vit", "<nav"]
    shown += ["0.9625 [0.930, 0.980]", "✗ refused", "<strong>cnn</strong>: Recall on test is 0.61"]
    shown += [">Winner vit</h2>", "the evaluation text of vit", "the drift text of vit", ">Candidate cnn</h2>"]
    shown += ["Cracks that cnn misses", "the explanation text of cnn", "about the Data", "d" * 64]
    positions = [page.index(text) for text in shown]
    assert positions == sorted(positions)


def test_errors_are_said_in_words_with_a_rate_if_it_was_measured(report):
    page, _ = report(BOTH, "vit")
    text = page.replace("\N{NO-BREAK SPACE}", " ")
    threshold = "</strong> calls a tile a crack if the probability P(crack) is at least 0.4. "
    missed = "It misses 3 of 20 cracked test tiles, 3.8 % (95 % interval 1.0 to 9.0 %). "
    assert f"<strong>vit{threshold}{missed}It raises a false alarm on 2 of 20 tiles without a crack, 15.0 %." in text
    assert f"<strong>cnn{threshold}{missed}It raises a false alarm on 2 of 20 tiles without a crack." in text


def test_the_first_section_ends_with_the_tiles_that_need_review(report):
    page, summary = report(BOTH, "vit")
    sentence = "A tile needs review if its P(crack) is at least 0.05 and below 0.4 (25 % [20, 30] of the test tiles)."
    assert page.index("False alarms of vit") < page.index(sentence) < page.index("<nav")
    assert summary["candidates"]["vit"]["test"]["review_share"] == 0.25


def test_a_network_without_a_review_band_is_said_to_have_none(report):
    page, _ = report({"cnn": False}, None)
    assert "The model does not say which tiles need review, because it was calibrated without a review band." in page


def test_the_first_section_shows_false_alarms_on_sound_concrete(report):
    page, _ = report({"cnn": True}, "cnn")
    first_section = page[: page.index("<nav")]
    assert "<li>walls, test, 20 tiles: false alarms per photo 1.5000 [0.900, 2.400] †</li>" in first_section
    assert "false alarms per m² not measured, because the scale is not known</li>" in first_section
    assert "† The number of errors is below the number of tiles in an average photo" in first_section


def figures(page: str) -> list[str]:
    """Return the text below each tile."""
    captions = re.findall(r"<figcaption><b>(.*?)</figcaption>", page)
    return [re.sub(r"<[^>]+>", " ", caption) for caption in captions]


def test_every_wrong_answer_has_its_image_probability_label_and_photo(report):
    page, _ = report({"cnn": True}, "cnn")
    assert "3 of 20 cracked test tiles; all are shown." in page
    assert "2 of 20 test tiles without a crack; all are shown." in page
    assert [text.split() for text in figures(page)] == [
        ["P(crack)", "0.100", "label", "crack", "group", "a" * 64],
        ["P(crack)", "0.110", "label", "crack", "photo", "1-1"],
        ["P(crack)", "0.120", "label", "crack", "photo", "1-2"],
        ["P(crack)", "0.900", "label", "no", "crack", "group", "a" * 64],
        ["P(crack)", "0.890", "label", "no", "crack", "photo", "0-1"],
    ]


def test_the_page_says_how_many_of_many_wrong_answers_it_shows(report):
    page, _ = report({"cnn": True}, "cnn", cnn={"missed": 9, "alarms": 4, "shown": 4})
    assert "9 of 20 cracked test tiles; 4 are shown. These 4 were chosen in rounds: first the most certain" in page
    assert "4 of 20 test tiles without a crack; all are shown." in page
    assert len(figures(page)) == 8


def test_a_network_without_errors_is_said_to_have_none(report):
    page, _ = report({"cnn": True}, "cnn", cnn={"missed": 0, "alarms": 0})
    assert "There are none: all 20 cracked test tiles are answered correctly." in page
    assert "There are none: all 20 test tiles without a crack are answered correctly." in page
    assert figures(page) == []


def test_the_option_that_shows_no_tiles_is_named(report):
    page, _ = report({"cnn": True}, "cnn", cnn={"shown": 0})
    assert "3 of 20 cracked test tiles. None is shown, because gate.wrong_tiles is 0." in page


def test_embedded_pages_keep_their_links_apart_and_their_headings_below(report):
    page, _ = report({"cnn": True, "vit": True}, "cnn")
    identifiers = re.findall(r'\bid="([^"]*)"', page)
    assert len(identifiers) == len(set(identifiers))
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(identifiers)
    assert page.count("<h1") == 1
    headings = re.findall(r"<h(\d)[^>]*>([^<]*)", page)
    assert ("3", "Evaluation of cnn") in headings
    assert ("4", "Details") in headings
    assert ("2", "Data") in headings
    assert ("3", "Details") in headings
    assert ("2", "Details") not in headings


def test_a_refused_run_gives_its_reasons_and_shows_the_best_candidate(report):
    page, summary = report({"cnn": False, "vit": False}, None, cnn={"auroc": 0.6}, vit={"auroc": 0.7})
    assert summary["outcome"] == "No candidate passed; nothing was registered"
    assert summary["winner"] is None
    assert summary["model"] is None
    first_screen = page[: page.index("<nav")]
    assert 'class="callout fail"' in first_screen
    assert "Recall on test is 0.61, but must be at least 0.9." in first_screen
    assert "This page shows vit first, because it has the highest test AUROC of the refused candidates." in first_screen
    assert "Cracks that vit misses" in first_screen
    assert "Cracks that cnn misses" not in first_screen


def test_a_step_without_a_page_has_no_section(report):
    page, _ = report({"cnn": True}, "cnn")
    assert "Training of cnn" not in page
    assert "Explanation of cnn" in page
