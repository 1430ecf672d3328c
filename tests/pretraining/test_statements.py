"""Statements and their truth against the level's ground truth."""

import contextlib
import io
import re

import numpy as np
import pytest

from rllib_vlm_reward.envs.babyai.captions import TEMPLATES, captions
from rllib_vlm_reward.envs.babyai.ground_truth import accomplished
from rllib_vlm_reward.envs.babyai.level import Find, Lift
from rllib_vlm_reward.pretraining.dataset import play
from rllib_vlm_reward.pretraining.statements import FAMILIES, truth


@pytest.mark.parametrize(("kind", "family"), [(Find, "find"), (Lift, "lift")])
def test_a_missions_statement_holds_where_it_is_accomplished(kind, family):
    level, rng = kind(room_size=5, num_objects=3, max_steps=10_000), np.random.default_rng(0)
    views, columns, success = [], [], []
    plain = FAMILIES[family].without_articles()
    for step in range(600):
        if step % 15 == 0:
            with contextlib.redirect_stdout(io.StringIO()):
                level.reset(seed=step)
        action = rng.choice(5, p=(0.2, 0.2, 0.3, 0.25, 0.05))
        views.append(level.step(action)[0]["image"])
        columns.append(plain.index(_bare(TEMPLATES[family].fill(level.mission))))
        success.append(accomplished(level))
    holds = truth(np.stack(views))[family][np.arange(600), columns]
    assert 10 < sum(success) < 590
    np.testing.assert_array_equal(holds, success)


def _bare(statement):
    """Drop the article before the object; the agent keeps its own."""
    return re.sub(r"(facing|carrying) the ", r"\1 ", statement)


def test_truth_is_the_captions():
    views = play(300, seed=2)
    holds = truth(views)
    for row, view in enumerate(views):
        for family, said in captions(view).items():
            plain = np.array(FAMILIES[family].without_articles())
            assert set(plain[holds[family][row]]) == said


@pytest.mark.parametrize("family", TEMPLATES)
def test_what_is_said_is_plain_but_for_articles(family):
    rng = np.random.default_rng(0)
    said = [FAMILIES[family].with_articles(rng) for _ in range(2)]
    assert said[0] != said[1], "articles are drawn anew"
    objects = r"\b(a|the) (?=(red|green|blue|purple|yellow|grey) (ball|box|key))"
    for texts in said:
        assert [re.sub(objects, "", text) for text in texts] == FAMILIES[family].without_articles()


@pytest.mark.parametrize("family", TEMPLATES)
def test_both_articles_reach_every_blank(family):
    texts = FAMILIES[family].with_articles(np.random.default_rng(0))[1:]
    articles = [re.findall(r"\b(a|the) \w+ (?:ball|box|key)", text) for text in texts]
    assert all(
        {row[blank] for row in articles} == {"a", "the"} for blank in range(len(articles[0]))
    )
