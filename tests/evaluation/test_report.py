"""The report is one page, whole and safe whatever the goals say."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from made_up import made_up_scores
from PIL import Image

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.evaluation.evaluate import Assessment
from rllib_vlm_reward.evaluation.report import data_uri, false_negatives, false_positives, page
from rllib_vlm_reward.evaluation.reward_charts import save_charts
from rllib_vlm_reward.metrics.metric import METRICS

NASTY = 'lift <b>a ball</b> & "run" <script>alert(1)</script>'
CONFIG = VLMRewardConfig(encoder="small", goals=[NASTY, "a <i>key"], threshold=0.5)
VOID = {"br", "meta", "img"}


class Read(HTMLParser):
    """Keeps what a page holds, and sees that what opens is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.images, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "img":
            self.images.append(dict(attributes)["src"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def made_up(number=40):
    rng = np.random.default_rng(0)
    labels = rng.random(number) < 0.4
    scores = rng.random(number)
    goals = [CONFIG.goal_set.texts[row % 2] for row in range(number)]
    steps = [0.0 if label else 3.0 for label in labels]
    mistaken = {NASTY: "a <i>key", "a <i>key": "a <i>key"}
    return made_up_scores(
        CONFIG, scores, labels, goals=goals, steps_to_go=steps, taken_for=mistaken
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    assessments = [Assessment(name, made_up()) for name in ("one <u>", "two")]
    charts = {name: folder / f"{name}.png" for name in save_charts(folder, assessments)}
    return Read(page(assessments, charts, "evaluate <x> --frames 'a b'"))


def test_nothing_is_fetched_and_nothing_runs(report):
    assert {tag for tag, _ in report.tags}.isdisjoint({"script", "link", "iframe", "b>", "i", "u"})
    for tag, attributes in report.tags:
        assert "href" not in attributes
        assert not any(name.startswith("on") for name in attributes), tag
    style = re.findall(r"url\(|@import", report.text)
    assert style == []


def test_every_picture_is_in_the_page(report):
    assert len(report.images) == 5 + 2 * 2 * 12
    for source in report.images:
        head, _, content = source.partition(",")
        assert head == "data:image/png;base64"
        Image.open(io.BytesIO(base64.b64decode(content))).load()


def test_the_verdicts_stand_above_the_first_table(report):
    tags = [(tag, attributes.get("class", "")) for tag, attributes in report.tags]
    first = tags.index(("table", ""))
    assert sum(kind.startswith("verdict") for _, kind in tags[:first]) == 2
    head = report.text.index("candidate")
    for name in ("one <u>", "two"):
        assert report.text.index(name) < head


def test_all_words_are_escaped_and_shown(report):
    assert NASTY in report.text
    assert "one <u>" in report.text
    assert "evaluate <x> --frames 'a b'" in report.text
    assert f"{NASTY}: a <i>key" in report.text


def test_its_table_has_each_candidate_and_goal(report):
    cells = [attributes for tag, attributes in report.tags if tag == "td"]
    columns = 3 + 11
    assert len(cells) == columns * (2 + 2 * (1 + 2))  # all; of each a family and two goals


def test_the_most_wrong_frames_are_the_most_wrong():
    scored = made_up()
    high, low = false_positives(scored), false_negatives(scored)
    labels, scores = scored.frames.labels, scored.scores
    assert [each.score for each in high] == pytest.approx(np.sort(scores[~labels])[::-1][:12])
    assert [each.score for each in low] == pytest.approx(np.sort(scores[labels])[:12])
    assert [each.fires for each in high] == [each.score > 0.5 for each in high]
    row = int(np.flatnonzero(scores == np.float32(low[0].score))[0])
    assert low[0].episode == scored.frames.episodes[row]
    np.testing.assert_array_equal(low[0].frame, scored.frames.frames([row])[0])


def test_frames_on_the_wrong_side_of_the_threshold_have_a_red_border(report):
    scored = made_up()
    scores, labels = scored.scores, scored.frames.labels
    high, low = np.sort(scores[~labels])[::-1][:12], np.sort(scores[labels])[:12]
    expected = [*(high > 0.5), *(low <= 0.5)] * 2  # of both candidates
    figures = [attributes for tag, attributes in report.tags if tag == "figure"]
    assert [each.get("class") == "wrong" for each in figures] == expected
    assert 0 < sum(expected) < len(expected)


def test_a_frame_is_shown_once():
    scored = made_up_scores(CONFIG, [0.9] * 300 + [0.1], [False] * 300 + [True])
    assert len(false_positives(scored, most=400)) == 256  # greys


def test_large_frames_are_made_small():
    uri = data_uri(np.zeros((900, 450, 3), np.uint8))
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert image.size == (112, 224)


def test_a_new_built_in_metric_is_one_entry_of_the_table(monkeypatch):
    def fires(scores, labels, episodes):
        return (scores > 0.5).mean()

    monkeypatch.setitem(METRICS, "share_that_fires", fires)
    scored = made_up()
    expected = (scored.scores > 0.5).mean()
    assessment = Assessment("one", scored)
    assert assessment.to_dict()["all"]["share_that_fires"]["value"] == pytest.approx(expected)
    text = Read(page([assessment], {})).text
    assert "share that fires" in text
    assert f"{expected:.3f}" in text
