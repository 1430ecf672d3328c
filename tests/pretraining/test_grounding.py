"""Patches that are taught what they show, and scores of where things are."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from rllib_vlm_reward.envs.captions import Box
from rllib_vlm_reward.errors import ConfigError, LabelError
from rllib_vlm_reward.metrics.ranking import auroc
from rllib_vlm_reward.pretraining import EnvSource, Settings, train_clip
from rllib_vlm_reward.pretraining.captioned import Family
from rllib_vlm_reward.pretraining.grounding import (
    UNCLEAR,
    patch_labels,
    score_patches,
    words_of_things,
)
from rllib_vlm_reward.reward_model.clip import CLIPEncoder

ROOMS = "rllib_vlm_reward/Rooms-v0"
WORDS = Family(("nothing", "{a|the} cup", "{a|the} red box"), "nothing")


def test_a_patch_shows_what_covers_half_of_it_or_lies_in_it():
    boxes = [Box("red box", 0.0, 0.0, 0.5, 0.6), Box("cup", 0.8, 0.9, 0.9, 1.0)]
    assert patch_labels(boxes, WORDS, (4, 4)).tolist() == [
        [2, 2, 0, 0],
        [2, 2, 0, 0],
        [UNCLEAR, UNCLEAR, 0, 0],
        [0, 0, 0, 1],
    ]


def test_a_box_without_area_shows_nothing():
    boxes = [Box("cup", 0.5, 0.2, 0.5, 0.8), Box("red box", 0.3, 0.3, 0.3, 0.3)]
    assert patch_labels(boxes, WORDS, (4, 4)).tolist() == [[0] * 4] * 4


def test_a_thing_without_a_word_is_unclear():
    assert patch_labels([Box("hat", 0, 0, 1, 1)], WORDS, (1, 1)).tolist() == [[UNCLEAR]]


def test_babyais_boxes_are_its_tiles(few):
    """A patch of 8 pixels is a tile, so its label is what the tile shows: compared by pixels."""
    words = words_of_things(few)
    assert len(words.statements) > 1 + 12
    shown = {}
    for frame, boxes in zip(few.frames, few.boxes, strict=True):
        labels = patch_labels(boxes, words, (7, 7))
        assert UNCLEAR not in labels
        for row, column in np.ndindex(7, 7):
            tile = frame[8 * row : 8 * row + 8, 8 * column : 8 * column + 8].tobytes()
            shown.setdefault(int(labels[row, column]), set()).add(tile)
    things = [tiles for label, tiles in shown.items() if label]
    assert len(things) > 12
    assert all(len(tiles) == 1 for tiles in things)  # each thing has one look, and no other has it
    assert len(set.union(*things)) == len(things)
    assert not shown[0] & set.union(*things)


def test_scores_are_those_of_pairs_counted_by_hand(few):
    encoder, words = CLIPEncoder.load("small", precision="fp32"), words_of_things(few)
    scores = score_patches(encoder, few)
    patches = encoder.tower.with_patches(np.asarray(few.frames))[1].flatten(1, 2)
    texts = encoder.encode_texts([text.replace("{a|the}", "a") for text in words.statements])
    found = (encoder.logit_scale * patches @ texts.T).softmax(dim=2).numpy()
    numbers, truths, highest, shows = [], [], [], []
    for frame, boxes in enumerate(few.boxes):
        labels = patch_labels(boxes, words, (7, 7)).ravel()
        for word in range(1, len(words.statements)):
            highest.append(found[frame, :, word].max())
            shows.append(word in labels)
            if word in labels:
                numbers.extend(found[frame, :, word])
                truths.extend(labels == word)
    assert scores.patch_auroc == pytest.approx(auroc(np.array(numbers), np.array(truths)))
    assert scores.present_auroc == pytest.approx(auroc(np.array(highest), np.array(shows)))
    assert (scores.frames, scores.pairs) == (210, sum(shows))
    assert scores.patch_auroc > 0.85  # small localises what it was never taught to
    assert scores.present_auroc < 0.9


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short training; returns its folder."""
    output = tmp_path_factory.mktemp("grounded") / "clip"
    settings = Settings(
        num_frames=400, steps=25, batch_size=16, held_out_frames=300, warmup_steps=5, patches=True
    )
    train_clip("small", EnvSource(ROOMS), output, settings)
    return output


def test_it_learns_where_things_are_and_keeps_the_rest(run):
    before = CLIPEncoder.load("small", precision="fp32")
    after = CLIPEncoder.load(str(run), precision="fp32")
    found = json.loads((run / "metrics.json").read_text())["patches"]
    assert found["scores"]["present_auroc"] > found["before"]["present_auroc"] + 0.05
    assert found["scores"]["patch_auroc"] > found["before"]["patch_auroc"]
    assert found["cosine"] > 0.98
    texts = ["a red ball", "the agent is carrying nothing"]
    torch.testing.assert_close(
        after.encode_texts(texts), before.encode_texts(texts), atol=2e-3, rtol=0
    )


def test_the_card_says_how_and_how_well(run):
    card = (run / "model_card.md").read_text()
    metrics = json.loads((run / "metrics.json").read_text())
    assert f"train-clip small --env {ROOMS} --output DIR" in card
    assert " --patches" in card
    found = metrics["patches"]
    for name in ("patch_auroc", "present_auroc"):
        row = f"| {found['before'][name]:.4f} | {found['scores'][name]:.4f} |"
        assert row in card
    assert f"{found['cosine']:.4f}" in card
    assert '"{a|the} red ball"' in card
    assert "Apache-2.0, as the code. It was fine-tuned from `small`" in card


def test_a_random_text_tower_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="got 'small/random', whose text tower is random"):
        train_clip("small/random", EnvSource(ROOMS), tmp_path, Settings(patches=True))


def test_a_source_without_boxes_is_refused_before_it_is_played(tmp_path):
    class Unplayed:
        has_boxes = False

    with pytest.raises(LabelError, match="expected some that show things"):
        train_clip("small", Unplayed(), tmp_path, Settings(patches=True))


def test_frames_without_boxes_are_refused(few):
    with pytest.raises(LabelError, match=r"expected some that show things\. Give the env a method"):
        words_of_things(dataclasses.replace(few, boxes=None))
