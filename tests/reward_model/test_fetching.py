"""What is missing is found at once and named: the network, a package, a tokenizer's file."""

import json
import time
from types import SimpleNamespace

import huggingface_hub
import pytest

from rllib_vlm_reward.errors import CheckpointError
from rllib_vlm_reward.reward_model import fetching
from rllib_vlm_reward.reward_model.clip import CLIPEncoder, check_clip

SIGLIP = "ViT-B-16-SigLIP/random"


def installed(monkeypatch, there):
    found = SimpleNamespace(find_spec=lambda name: object() if there else None)
    monkeypatch.setattr(fetching, "importlib", SimpleNamespace(util=found))


@pytest.mark.parametrize("door", [check_clip, CLIPEncoder.load])
def test_a_missing_package_is_named(door, monkeypatch):
    installed(monkeypatch, there=False)
    check_clip("ViT-B-32/random")  # whose tokenizer comes with open_clip
    with pytest.raises(CheckpointError, match=r"pip install transformers .*reward\[hf\]"):
        door(SIGLIP)


def test_a_missing_tokenizer_is_named_with_its_folder(tmp_path, monkeypatch):
    installed(monkeypatch, there=True)
    config = {
        "model_cfg": {
            "embed_dim": 8,
            "vision_cfg": {},
            "text_cfg": {"hf_tokenizer_name": "org/words"},
        },
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3},
    }
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    (tmp_path / "open_clip_model.safetensors").touch()
    with pytest.raises(CheckpointError, match=rf"tokenizer\.json is missing in {tmp_path}"):
        check_clip(str(tmp_path))
    (tmp_path / "tokenizer.json").touch()
    check_clip(str(tmp_path))


class Down:
    """A session that reaches nothing."""

    def __init__(self):
        self.attempts = []

    def head(self, url, timeout):
        self.attempts.append(timeout)
        raise OSError("no network")


def test_a_network_that_is_down_costs_one_attempt(monkeypatch):
    down, before = Down(), huggingface_hub.constants.HF_HUB_OFFLINE
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: down)
    begin = time.monotonic()
    with pytest.raises(CheckpointError, match=r"hf-hub:org/nothing-here.*connection"):
        CLIPEncoder.load("hf-hub:org/nothing-here")
    assert time.monotonic() - begin < 10  # a minute with the hub's own attempts
    assert down.attempts == [fetching._TIMEOUT_S]
    assert before == huggingface_hub.constants.HF_HUB_OFFLINE


def test_what_needs_no_hub_asks_for_none(monkeypatch):
    down = Down()
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: down)
    CLIPEncoder.load("small")
    assert down.attempts == []
