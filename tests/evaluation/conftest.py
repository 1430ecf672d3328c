import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from rllib_vlm_reward.evaluation.collect import collect
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.reward_model import spec
from rllib_vlm_reward.run.experiment import Experiment

ROOT = Path(__file__).parents[2]
EMBEDDED = Path(spec.__file__).parent / "checkpoints"


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """Two threads wait for each other longer than they work on models this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def quickstart():
    """The quickstart's reward: Lift, 18 goals, the embedded CLIP "base"."""
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
    """Function of an embedded CLIP and a change of its weights: the changed one's folder."""

    def change(name, changed):
        folder = tmp_path_factory.mktemp("changed") / name
        shutil.copytree(EMBEDDED / name, folder)
        path = folder / "open_clip_model.safetensors"
        safetensors.torch.save_file(changed(safetensors.torch.load_file(path)), path)
        return str(folder)

    return change
