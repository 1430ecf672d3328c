from pathlib import Path

import pytest
from wrong_rewards import save_clip

from rllib_vlm_reward.evaluation import figures, models
from rllib_vlm_reward.evaluation.collect import collect
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.models import load_model
from rllib_vlm_reward.run.experiment import Experiment

ROOT = Path(__file__).parents[2]


@pytest.fixture
def loads(monkeypatch):
    """Every CLIP that is loaded: its name, and how many frames it has encoded."""
    loaded = []

    def load(config, **kwargs):
        model = load_model(config, **kwargs)
        loaded.append((config.encoder, lambda: model.counts()["frames_encoded"]))
        return model

    monkeypatch.setattr(models, "load_model", load)
    return loaded


@pytest.fixture
def few_resamples(monkeypatch):
    """For tests in which no interval matters: 300 for each of 18 goals take seconds."""
    monkeypatch.setattr(figures, "_REPEATS", 30)


@pytest.fixture(scope="session")
def quickstart():
    """The quickstart's reward: Lift, 18 goals, the shipped CLIP "base"."""
    return Experiment.from_file(ROOT / "configs/quickstart.yaml").vlm_reward


@pytest.fixture(scope="session")
def lift():
    """At most 1,000 frames of the quickstart's env, of random play and of BabyAI's bot."""
    run = Experiment.from_file(ROOT / "configs/quickstart.yaml")
    parts = [
        collect(run, players=["random"], episodes=30, seed=0),
        collect(run, players=["expert"], episodes=70, seed=1),
    ]
    frames = LabelledFrames.join(parts)
    assert 700 < len(frames) <= 1000
    return frames


@pytest.fixture(scope="session")
def changed_clip(tmp_path_factory):
    """Function of a shipped CLIP and other weights: the folder of a CLIP that has them."""

    def change(name, weights):
        return save_clip(name, weights, tmp_path_factory.mktemp("changed") / name)

    return change
