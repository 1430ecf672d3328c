"""The CLIPs that ship reach what their cards claim, on layouts that nobody has scored yet."""

import json
from pathlib import Path

import pytest
import torch

from rllib_vlm_reward.pretraining import EnvSource
from rllib_vlm_reward.pretraining.captioned import Family
from rllib_vlm_reward.pretraining.grounding import score_patches
from rllib_vlm_reward.pretraining.scores import score_families
from rllib_vlm_reward.pretraining.sources import Request
from rllib_vlm_reward.pretraining.training import describe_texts
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.spec import shipped_names
from rllib_vlm_reward.reward_model.tokens import words_of

FOLDER = Path(__file__).parents[2] / "rllib_vlm_reward" / "reward_model" / "checkpoints"
EXTRAS = ("android", "house")  # the worlds' extras, and the markers of the tests that need them


@pytest.fixture
def frames(tmp_path):
    """Returns a function: held-out frames of the world that a card names, of another seed."""

    def play(name):
        source = claims(name)["source"]
        return EnvSource(source["env"], source["env_config"]).held_out(
            Request(0, 2000, seed=2024), tmp_path, lambda *now: None
        )

    return play


def claims(name):
    return json.loads((FOLDER / name / "metrics.json").read_text())


def test_five_clips_ship():
    assert {"small", "base", "grounded", "house", "android"} <= set(shipped_names())
    sizes = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file())
    assert sizes < 25e6


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[getattr(pytest.mark, name)] if name in EXTRAS else [])
        for name in shipped_names()
    ],
)
def test_scores_are_those_of_the_card(name, frames):
    encoder, claimed = CLIPEncoder.load(name, precision="fp32"), claims(name)
    assert encoder.fingerprint == claimed["fingerprint"]
    for family, score in score_families(encoder, frames(name)).items():
        said = claimed["held_out"][family]
        for measure in ("average_precision", "precision", "recall"):
            # A fifth of the card's frames: more than twice as uncertain as the card's interval.
            margin = 0.002 + 2.5 * max(
                abs(said[measure] - end) for end in said["intervals"][measure]
            )
            assert getattr(score, measure) == pytest.approx(said[measure], abs=margin), measure


def test_base_can_be_paid_by():
    """What PPO needs: hardly a false reward, and no missed one."""
    score = claims("base")["held_out"]["lift"]
    assert min(score["precision"], score["recall"]) >= 0.995
    assert score["false_per_1000"] <= 0.1


def test_grounded_says_where_things_are_as_its_card_claims(frames):
    claimed = claims("grounded")["patches"]
    assert claimed["scores"]["patch_auroc"] >= 0.99
    assert claimed["scores"]["present_auroc"] >= 0.95
    played = frames("grounded")
    for name, key in (("grounded", "scores"), ("small", "before")):
        found = score_patches(CLIPEncoder.load(name, precision="fp32"), played)
        for measure in ("patch_auroc", "present_auroc"):
            assert getattr(found, measure) == pytest.approx(claimed[key][measure], abs=0.02)
    texts = ["the agent is carrying a red ball", "a red ball", "nothing"]
    small, grounded = (CLIPEncoder.load(name, precision="fp32") for name in ("small", "grounded"))
    assert torch.equal(small.encode_texts(texts), grounded.encode_texts(texts))
    cosines = (small.encode_frames(played.frames) * grounded.encode_frames(played.frames)).sum(1)
    assert float(cosines.mean()) == pytest.approx(claimed["cosine"], abs=0.002)


@pytest.mark.parametrize("name", shipped_names())
def test_the_card_shows_the_metrics(name):
    card = (FOLDER / name / "model_card.md").read_text()
    for family, score in claims(name)["held_out"].items():
        assert f"| {family} | {score['frames']:,} | {score['average_precision']:.4f} (" in card
        assert score["intervals"].keys() == {
            "average_precision",
            "precision",
            "recall",
            "false_per_1000",
        }
    assert claims(name)["fingerprint"] in card
    assert "Apache-2.0" in card


@pytest.mark.parametrize("name", shipped_names())
def test_the_card_says_how_long_a_text_may_be(name):
    length = CLIPEncoder.load(name, precision="fp32").context_length
    assert f"| longest text | {length} tokens" in (FOLDER / name / "model_card.md").read_text()
    goals = (FOLDER.parents[2] / "docs" / "goals.md").read_text(encoding="utf-8")
    assert f"The CLIPs of this package read at most {length} tokens" in " ".join(goals.split())


ALL = [FOLDER / name for name in shipped_names()]
ALL += sorted(FOLDER.parents[2].glob("tune_experiments/*_clips/*/"))


@pytest.mark.parametrize("folder", ALL, ids=lambda folder: "/".join(folder.parts[-2:]))
def test_each_clip_carries_its_words_and_a_probe(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    encoder = CLIPEncoder.load(str(folder), precision="fp32")
    embedding = encoder.encode_texts([metrics["probe"]["text"]])[0].tolist()
    assert metrics["probe"]["embedding"] == pytest.approx(embedding, abs=1e-4)
    assert words_of([metrics["probe"]["text"]])
    assert {*words_of([metrics["probe"]["text"]])} <= {*metrics["vocabulary"]}


@pytest.mark.parametrize("name", shipped_names())
def test_the_vocabulary_is_that_of_the_statements(name):
    metrics = claims(name)
    families = {
        family: Family(tuple(statements)) for family, statements in metrics["statements"].items()
    }
    found = describe_texts(CLIPEncoder.load(name, precision="fp32"), families)
    assert metrics["vocabulary"] == found["vocabulary"]
