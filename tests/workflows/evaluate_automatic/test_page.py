"""What the page of a run without prompts tells."""

from __future__ import annotations

import numpy as np

from mitosam.models.tuned import read_tuned_info
from mitosam.workflows.automatic import AutomaticInfo
from mitosam.workflows.automatic_report import automatic_content, write_automatic_report
from mitosam.workflows.automatic_results import read_automatic
from mitosam.workflows.evaluate import evaluate
from mitosam.workflows.evaluate_automatic import evaluate_automatic
from mitosam.workflows.report import report
from tests.automatic_runs import head_settings, train_run
from tests.tiny_runs import rows_of


def test_slabs_each_have_a_line_and_nothing_is_pooled(in_slabs):
    rows = rows_of(in_slabs.folder / "automatic.csv")
    assert [(r["method"], r["first_section"], r["last_section"]) for r in rows] == [
        *(("head", "6", "6"), ("head", "8", "9")),
        *(("U-Net", "6", "6"), ("U-Net", "8", "9")),
    ]
    content = automatic_content(in_slabs, read_automatic(in_slabs))
    assert {row.place for row in content.methods} == {
        "images, section 7",
        "images, sections 9 to 10",
    }
    html = (in_slabs.folder / "automatic.html").read_text()
    assert "nothing is pooled over them" in html
    assert "Scored in 2 places, each by itself" in html


def test_binary_masks_have_the_pieces_of_the_scored_slab_for_truth(in_slabs):
    masks = np.asarray(in_slabs.parts()[0].volume.labels)[8:10] > 0
    scores = [s for s in read_automatic(in_slabs) if s.sections == range(8, 10)]
    import cc3d

    assert {s.scores.instances.num_true for s in scores} == {
        int(cc3d.connected_components(masks, connectivity=26).max())
    }
    assert (
        "mitochondria that touch there count as one"
        in (in_slabs.folder / "automatic.html").read_text()
    )


def test_the_page_says_where_thresholds_were_chosen_and_shows_the_preferred_method(scored):
    scores = read_automatic(scored)
    content = automatic_content(scored, scores)
    assert content.thresholds_from == "on validation sections 6 to 7 of images"
    info = AutomaticInfo.parse(read_tuned_info(scored.tuned_weights).automatic_json)
    assert content.pictures_of == info.preferred
    assert [picture.title.split(":")[0] for picture in content.pictures] == ["Best", "Worst"]
    page = write_automatic_report(scored, scores)
    assert page == scored.folder / "automatic.html"
    assert "No prompts were used." in page.read_text()


def test_a_leaky_split_is_told_first(tmp_path, base_model, volume):
    settings = head_settings(base_model, 'split.test="8-10"')
    run = train_run(volume, tmp_path / "run", settings)
    scores = evaluate_automatic(run, methods=["head"], rival="none")
    messages = automatic_content(run, scores).messages
    assert any(text.startswith("LEAKY SPLIT") for text in messages)


def test_the_report_has_a_section_of_what_was_found_without_prompts(run, scored):
    evaluation = evaluate(run)
    text = report(run, evaluation).read_text()
    assert text.count('id="automatic"') == 1
    assert "Found without prompts" in text
    assert "never comparable with scores under prompts" in text
    assert 'id="automatic"' not in report(run, evaluation, []).read_text()
