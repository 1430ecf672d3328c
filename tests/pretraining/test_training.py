"""A short training: it learns, is seeded, can be interrupted, and leaves a folder that loads."""

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from rllib_vlm_reward.errors import CheckpointError, ConfigError
from rllib_vlm_reward.goals import wordings
from rllib_vlm_reward.pretraining import EnvSource, Settings, score_clip, train_clip, training
from rllib_vlm_reward.pretraining.scores import score_families
from rllib_vlm_reward.reward_model.clip import CLIPEncoder

PACKAGE = Path(training.__file__).parents[1]
ROOMS = "rllib_vlm_reward/Rooms-v0"
SHORT = Settings(
    num_frames=3000,
    steps=150,
    batch_size=32,
    learning_rate=3e-3,
    warmup_steps=20,
    held_out_frames=1000,
)
TINY = Settings(num_frames=300, steps=6, batch_size=8, held_out_frames=300)


@pytest.fixture(autouse=True, scope="module")
def few_resamples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "REPEATS", 10)
        yield


@pytest.fixture(scope="module")
def source():
    return EnvSource(ROOMS)


@pytest.fixture(scope="module")
def run(tmp_path_factory, source):
    """(folder, scores, progress) of a short run."""
    folder, progress = tmp_path_factory.mktemp("trained") / "new", []
    scores = train_clip("small/random", source, folder, SHORT, report=progress.append)
    return folder, scores, progress


def test_it_learns(run, source, tmp_path):
    """Objects in the hand are what it learns first; the rest takes longer than a test."""
    _, scores, progress = run
    losses = [now.losses for now in progress if now.phase == "train" and now.losses]
    for family in losses[0]:
        assert np.mean([loss[family] for loss in losses[-20:]]) < losses[0][family]
    held_out = source.held_out(SHORT.request, tmp_path, lambda *now: None)
    untrained = score_families(CLIPEncoder.load("small/random", precision="fp32"), held_out)
    assert scores["lift"].average_precision > 2 * untrained["lift"].average_precision
    assert scores["lift"].average_precision > 2 * scores["lift"].true / (2 * 18 * len(held_out))


def test_it_reports_what_it_does(run):
    phases = list(dict.fromkeys(now.phase for now in run[2]))
    assert phases == ["play", "play held-out layouts", "train", "score"]
    for phase, total in zip(phases, (3000, 1000, SHORT.steps, 1), strict=True):
        done = [now.done for now in run[2] if now.phase == phase]
        assert done == sorted(done)
        assert (done[0], done[-1]) == (0, total)
        assert {now.total for now in run[2] if now.phase == phase} == {total}


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
    assert "rllib-vlm-reward train-clip small/random --env rllib_vlm_reward/Rooms-v0" in card
    assert '"the agent is facing {a|the} blue ball"' in card
    assert '{"goal": "pick up {}", "prompt": "the agent is carrying {}",' in card
    assert "Apache-2.0" in card
    assert "| longest text | 16 tokens" in card
    for family, score in scores.items():
        assert f"| {family} | {score.frames:,} | {score.average_precision:.4f} (" in card
        low, high = score.intervals["precision"]
        assert f"{score.precision:.4f} ({low:.4f} to {high:.4f})" in card


def test_flops_are_those_of_a_count_by_hand(run):
    """An even number of heads (small, m, l) and an odd one (base, xs) take other paths in torch."""
    shipped = PACKAGE / "reward_model" / "checkpoints"
    family = PACKAGE.parent / "tune_experiments" / "paper_clips"
    for folder in (run[0], shipped / "small", shipped / "base", *sorted(family.glob("*/"))):
        model = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
        vision, embed_dim = model["vision_cfg"], model["embed_dim"]
        width, patch = vision["width"], vision["patch_size"]
        patches = (vision["image_size"] // patch) ** 2
        tokens = patches + 1
        convolution = patches * 3 * patch**2 * width
        matrices = tokens * 12 * width**2  # query, key, value and output: 4; an MLP 4 wide: 8
        attention = 2 * tokens**2 * width  # queries with keys, weights with values
        products = convolution + vision["layers"] * (matrices + attention) + width * embed_dim
        metrics = json.loads((folder / "metrics.json").read_text())
        assert metrics["flops_per_frame"] == 2 * products, folder.name


def test_scored_again_it_has_the_same_card_and_a_card_without_intervals_gets_them(
    run, source, tmp_path
):
    folder = tmp_path / "new"
    shutil.copytree(run[0], folder)
    card, file = (folder / "model_card.md").read_text(), folder / "metrics.json"
    metrics = json.loads(file.read_text())
    for score in metrics["held_out"].values():
        score["intervals"] = {}
    del metrics["settings"]["held_out_things"]
    file.write_text(json.dumps(metrics))
    assert score_clip(source, folder) == run[1]
    assert (folder / "model_card.md").read_text() == card
    assert file.read_text() == (run[0] / "metrics.json").read_text()
    file.write_text(json.dumps({**metrics, "fingerprint": "0" * 64}))
    with pytest.raises(CheckpointError, match=r"expected 000000000000 as in metrics\.json"):
        score_clip(source, folder)
    file.unlink()
    with pytest.raises(CheckpointError, match="expected a folder that train-clip wrote"):
        score_clip(source, folder)


def fingerprint(folder):
    return json.loads((folder / "metrics.json").read_text())["fingerprint"]


class Interrupted(Exception):
    pass


@pytest.fixture(scope="module")
def whole(tiny_clip, source, tmp_path_factory):
    """The folder of a training that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    train_clip(f"{tiny_clip}/random", source, folder, TINY)
    return folder


@pytest.mark.parametrize("ends_at", [("play", 100), ("train", 4), ("score", 0)])
def test_a_training_that_was_interrupted_goes_on_as_if_it_was_not(
    whole, tiny_clip, source, tmp_path, monkeypatch, ends_at
):
    """Wherever it ends; and a folder is of one training."""
    monkeypatch.setattr(training, "SAVE_S", 0.0)

    def end(now):
        if now.phase == ends_at[0] and now.done >= ends_at[1]:
            raise Interrupted

    folder, trained = tmp_path / "part", []
    with pytest.raises(Interrupted):
        train_clip(f"{tiny_clip}/random", source, folder, TINY, report=end)
    assert not (folder / "metrics.json").exists()
    other = Settings(num_frames=300, steps=7, batch_size=8, held_out_frames=300)
    with pytest.raises(ConfigError, match="unfinished training with another steps, 6 instead of 7"):
        train_clip(f"{tiny_clip}/random", source, folder, other)
    train_clip(f"{tiny_clip}/random", source, folder, TINY, report=trained.append)
    assert fingerprint(folder) == fingerprint(whole)
    first = next(now.done for now in trained if now.phase == "train")
    assert first == {"play": 0, "train": 3, "score": 6}[ends_at[0]]
    assert not (folder / ".train-clip").exists()


def test_a_trained_clip_is_fine_tuned(run, source, tmp_path):
    """It begins where the other training ended, and its card names the model."""
    settings = Settings(num_frames=300, steps=2, batch_size=32, held_out_frames=1000)
    losses = []
    folder = tmp_path / "fine"
    train_clip(str(run[0]), source, folder, settings, report=lambda now: losses.append(now.losses))
    first = next(loss for loss in losses if loss)
    before = next(now.losses for now in run[2] if now.losses)
    assert first["lift"] < before["lift"]
    assert fingerprint(folder) != fingerprint(run[0])
    card = (folder / "model_card.md").read_text()
    assert f"That of the model that was fine-tuned, `{run[0]}`" in card
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["vocabulary"] == json.loads((run[0] / "metrics.json").read_text())["vocabulary"]


def test_a_named_model_of_open_clip_is_fine_tuned(tmp_path):
    """Its folder has open_clip's configuration, and says of no word that it is unknown."""
    weights = tmp_path / "weights.pt"
    model = open_clip.create_model("ViT-S-32-alt", load_weights=False)
    torch.save(model.state_dict(), weights)
    settings = Settings(num_frames=60, steps=1, batch_size=2, held_out_frames=100)
    # Of two statements: open_clip's own texts have 77 tokens.
    lamp = EnvSource("test_recorded_play.Lamp")
    train_clip(f"ViT-S-32-alt/{weights}", lamp, tmp_path / "fine", settings)
    encoder = CLIPEncoder.load(str(tmp_path / "fine"), precision="fp32")
    assert (encoder.embed_dim, encoder.image_size) == (256, (224, 224))
    assert encoder.tower.preprocess == CLIPEncoder.load(f"ViT-S-32-alt/{weights}").tower.preprocess
    assert "vocabulary" not in json.loads((tmp_path / "fine" / "metrics.json").read_text())


def test_an_unknown_architecture_is_an_error_before_anything_is_written(source, tmp_path):
    with pytest.raises(CheckpointError, match="huge/random"):
        train_clip("huge/random", source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["num_frames", "steps", "held_out_frames"])
def test_numbers_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}: got 0, expected at least 1"):
        Settings(**{name: 0})


def test_views_are_drawn_as_the_env_shows_them(run):
    """The encoder reads 56-pixel frames as they are: no resizing between play and reward."""
    encoder = CLIPEncoder.load(str(run[0]), precision="fp32")
    frame = np.random.default_rng(0).integers(0, 256, (1, 56, 56, 3), np.uint8)
    pixels = encoder.preprocess(frame)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(pixels * 0.5 + 0.5, frame[0] / 255, atol=1e-6)


def test_what_is_held_out_is_neither_shown_nor_named(source, tmp_path, monkeypatch):
    """And is scored alone, against all."""
    shown, said = [], []
    losses = training._losses

    def noted(encoder, data, rows, rng, unnamed):
        for name, family in data.families.items():
            held = data.holds[name][rows].any(axis=0)
            shown.extend(wordings(family.statements[column])[0] for column in held.nonzero()[0])
        tokenize = encoder.tokenize
        monkeypatch.setattr(
            encoder, "tokenize", lambda texts: said.extend(texts) or tokenize(texts)
        )
        each = losses(encoder, data, rows, rng, unnamed)
        monkeypatch.setattr(encoder, "tokenize", tokenize)
        return each

    monkeypatch.setattr(training, "_losses", noted)
    things = ("green ball", "blue key")
    short = Settings(
        num_frames=300, steps=2, batch_size=128, held_out_frames=1000, held_out_things=things
    )
    scores = train_clip("small/random", source, tmp_path / "new", short)
    for texts in (" ".join(shown), " ".join(said)):
        assert "green box" in texts
        assert not any(thing in texts for thing in things)
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


def test_a_thing_that_no_statement_names_is_refused(source, tmp_path):
    settings = Settings(num_frames=60, held_out_frames=300, held_out_things=("unicorn",))
    with pytest.raises(ConfigError, match="got 'unicorn', which no statement names"):
        train_clip("small/random", source, tmp_path / "new", settings)
