"""Captioned frames: families, distinct frames, balanced draws, and what cannot be learned."""

import dataclasses

import numpy as np
import pytest

from rllib_vlm_reward.errors import LabelError
from rllib_vlm_reward.goals import wordings
from rllib_vlm_reward.pretraining.captioned import Family

ALL = slice(None)


def test_each_frame_of_the_play_is_there_once(data):
    rows = data.rows(np.ones(len(data), bool))
    kept = [frame.tobytes() for frame in data.frames[rows]]
    assert len(kept) == len(set(kept)) < len(data)
    assert set(kept) == {frame.tobytes() for frame in data.frames}


def test_rare_statements_are_drawn_more_often_than_met(data):
    rows = data.rows(np.ones(len(data), bool))
    weights = data.weights(rows)
    assert weights.sum() == pytest.approx(1)
    for name, family in data.families.items():
        nothing = data.holds[name][rows][:, ~family.goals][:, 0]
        assert 0 < weights[nothing].sum() < nothing.mean()


def test_frames_that_mention_a_thing(data):
    found = data.mentions(["green ball"])
    for row in np.flatnonzero(found)[:20]:
        said = [
            wordings(family.statements[column])[0]
            for name, family in data.families.items()
            for column in np.flatnonzero(data.holds[name][row])
        ]
        assert any("green ball" in text for text in said)
    assert 0 < found.mean() < 0.5
    assert not data.mentions([]).any()
    unclear = dataclasses.replace(
        data, fails={name: np.zeros_like(mask) for name, mask in data.fails.items()}
    )
    assert unclear.mentions(["green ball"]).all(), "what is unclear may hold"


def test_every_wording_is_said_and_nothing_else():
    family = Family(("no two touch", "{{a|the} cone by {a|the} tree|a tree by a cone}"))
    rng = np.random.default_rng(0)
    said = {family.say([1], rng)[0] for _ in range(200)}
    assert said == set(wordings(family.statements[1]))
    assert len(said) == 5


def test_things_are_named_by_whole_words():
    family = Family(("a box", "a boxer", "{a|the} red box"))
    assert family.about(["box"]).tolist() == [True, False, True]
    assert not family.about([]).any()


@pytest.mark.parametrize(
    ("statements", "holds", "message"),
    [
        (("open",), [[True]], "the family 'door' has the one statement 'open'"),
        (("shut", "open"), [[True, False]], "in none of the 1 training frames a statement"),
    ],
)
def test_what_cannot_be_learned_is_an_error(data, statements, holds, message):
    held = np.array(holds)
    door = dataclasses.replace(
        data,
        episodes=np.zeros(1, int),
        families={"door": Family(statements, "shut")},
        holds={"door": held},
        fails={"door": ~held},
    )
    with pytest.raises(LabelError, match=message):
        door.check("training")


def test_frames_without_any_true_statement_are_an_error(data):
    nothing = {name: np.zeros_like(mask) for name, mask in data.holds.items()}
    with pytest.raises(LabelError, match="no statement holds in any of 2 frames"):
        dataclasses.replace(data, holds=nothing).weights(np.arange(2))


def test_frames_that_cannot_be_scored_are_an_error_before_training(data):
    data.check_scorable()
    unclear = dataclasses.replace(
        data, fails={name: np.zeros_like(mask) for name, mask in data.fails.items()}
    )
    with pytest.raises(LabelError, match=r"have unclear ones, expected a frame with one true"):
        unclear.check_scorable()
