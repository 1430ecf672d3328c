"""A short training run: it learns, is seeded, and leaves a folder that loads."""

import json

import numpy as np
import open_clip
import pytest

from rllib_vlm_reward.envs.babyai.captions import captions
from rllib_vlm_reward.errors import CheckpointError
from rllib_vlm_reward.pretraining import Settings, train_clip, training
from rllib_vlm_reward.pretraining.dataset import play
from rllib_vlm_reward.pretraining.scores import score_families
from rllib_vlm_reward.reward_model.clip import CLIPEncoder

SHORT = Settings(
    num_frames=3000,
    steps=150,
    batch_size=32,
    learning_rate=3e-3,
    warmup_steps=20,
    held_out_frames=1000,
)


@pytest.fixture(autouse=True, scope="module")
def few_resamples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "REPEATS", 10)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(folder, scores, progress) of a short run."""
    folder, progress = tmp_path_factory.mktemp("trained") / "new", []
    scores = train_clip("small", folder, SHORT, report=progress.append)
    return folder, scores, progress


def test_it_learns(run):
    """Objects in the hand are what it learns first; the rest takes longer than a test."""
    _, scores, progress = run
    losses = [now.losses for now in progress if now.phase == "train"]
    for family in losses[0]:
        assert np.mean([loss[family] for loss in losses[-20:]]) < losses[0][family]
    held_out = play(SHORT.held_out_frames, seed=SHORT.seed, held_out=True)
    untrained = score_families(CLIPEncoder.load("small/random", precision="fp32"), held_out)
    assert scores["lift"].average_precision > 2 * untrained["lift"].average_precision
    assert scores["lift"].average_precision > 2 * scores["lift"].true / (2 * 18 * len(held_out))


def test_it_tells_what_it_does(run):
    phases = [now.phase for now in run[2]]
    assert phases == ["play", *["train"] * SHORT.steps, "score"]
    assert [now.step for now in run[2]] == [0, *range(1, SHORT.steps + 1), SHORT.steps]


def test_the_folder_loads_and_is_small(run):
    folder = run[0]
    encoder = CLIPEncoder.load(str(folder), precision="fp32")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert encoder.fingerprint == metrics["fingerprint"]
    assert encoder.encode_texts(["the agent is carrying a red ball"]).shape == (1, 64)
    assert (folder / "open_clip_model.safetensors").stat().st_size < 5e6


def test_open_clip_itself_loads_the_folder(run):
    model, _ = open_clip.create_model_from_pretrained(f"local-dir:{run[0]}")
    assert model.logit_scale.exp().item() == pytest.approx(
        CLIPEncoder.load(str(run[0]), precision="fp32").logit_scale
    )


def test_the_card_says_how_and_how_well(run):
    folder, scores, _ = run
    card = (folder / "model_card.md").read_text()
    assert "rllib-vlm-reward train-clip" in card
    assert "{" not in card.replace("{a|the}", "")
    assert "Apache-2.0" in card
    assert "| longest text | 16 tokens" in card
    for family, score in scores.items():
        assert f"| {family} | {score.frames:,} | {score.average_precision:.4f} (" in card
        low, high = score.intervals["precision"]
        assert f"{score.precision:.4f} ({low:.4f} to {high:.4f})" in card


def test_a_seed_gives_one_training(tiny_clip, tmp_path):
    short = Settings(num_frames=300, steps=2, batch_size=8, held_out_frames=1000)
    for name in ("one", "two"):
        train_clip(f"{tiny_clip}/open_clip_config.json", tmp_path / name, short)
    one, two = (
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two")
    )
    assert one["fingerprint"] == two["fingerprint"]
    assert one["held_out"] == two["held_out"]


def test_an_unknown_architecture_is_an_error_before_anything_is_written(tmp_path):
    with pytest.raises(CheckpointError, match="huge/random"):
        train_clip("huge", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_few_held_out_frames_are_refused():
    with pytest.raises(ValueError, match="expected at least 1000"):
        Settings(held_out_frames=10)


def test_views_are_drawn_as_the_env_shows_them(run):
    """The encoder reads 56-pixel frames as they are: no resizing between play and reward."""
    encoder = CLIPEncoder.load(str(run[0]), precision="fp32")
    frame = np.random.default_rng(0).integers(0, 256, (1, 56, 56, 3), np.uint8)
    pixels = encoder.preprocess(frame)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(pixels * 0.5 + 0.5, frame[0] / 255, atol=1e-6)


def test_what_is_held_out_is_neither_shown_nor_named(tmp_path, monkeypatch):
    """And is scored alone, against all."""
    shown, said = [], []
    losses = training._losses

    def noted(encoder, views, holds, rng, unnamed):
        shown.append(views)
        told = encoder.tokenize
        monkeypatch.setattr(encoder, "tokenize", lambda texts: said.extend(texts) or told(texts))
        each = losses(encoder, views, holds, rng, unnamed)
        monkeypatch.setattr(encoder, "tokenize", told)
        return each

    monkeypatch.setattr(training, "_losses", noted)
    short = Settings(
        num_frames=300,
        steps=2,
        batch_size=128,
        held_out_frames=1000,
        held_out_things=("green ball", "blue key"),
    )
    scores = train_clip("small", tmp_path / "new", short)
    seen = " ".join(s for view in np.concatenate(shown) for f in captions(view).values() for s in f)
    assert "green box" in seen
    assert not any(thing in seen for thing in short.held_out_things)
    heard = " ".join(said).replace("a ", "").replace("the ", "")
    assert "green box" in heard
    assert not any(thing in heard for thing in short.held_out_things)
    metrics = json.loads((tmp_path / "new" / "metrics.json").read_text())
    strange = metrics["held_out_things"]
    assert {family: score["frames"] for family, score in strange.items()} == {
        family: score.frames for family, score in scores.items()
    }
    assert 0 < strange["lift"]["true"] < scores["lift"].true
    assert "green ball, blue key" in (tmp_path / "new" / "model_card.md").read_text()


def test_words_that_no_statement_holds_mean_nothing(run):
    words = CLIPEncoder.load(str(run[0]), precision="fp32").model.token_embedding.weight
    used = (words != 0).any(dim=1)
    assert 15 < used.sum() < 60
    encoder = CLIPEncoder.load(str(run[0]), precision="fp32")
    assert used[encoder.tokenize(["the agent is carrying a red ball"])].all()


def test_things_that_no_level_holds_are_refused():
    with pytest.raises(ValueError, match="pink ball"):
        Settings(held_out_things=("pink ball",))
