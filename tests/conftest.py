import json
import os
from pathlib import Path

import open_clip
import pytest
import ray
import safetensors.torch
import torch

PAINTED_WORLD = Path(__file__).parent / "connectors"

TINY_CLIP = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": 56,
            "patch_size": 8,
            "width": 32,
            "layers": 2,
            "head_width": 16,
        },
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 49408,
            "width": 32,
            "heads": 2,
            "layers": 1,
        },
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "interpolation": "bilinear",
        "resize_mode": "squash",
    },
}


def write_clip(folder, config):
    """Write a CLIP with seeded random weights in open_clip's folder layout; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with torch.random.fork_rng():
        torch.manual_seed(7)  # not that of `ARCH/random`, or nobody could tell them apart
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    safetensors.torch.save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return str(folder)


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory):
    """Folder of a 56-pixel ViT CLIP with random weights, loadable by ``CLIPEncoder.load``."""
    return write_clip(tmp_path_factory.mktemp("clip") / "tiny", TINY_CLIP)


@pytest.fixture(scope="module")
def cluster(request):
    """A Ray of this module's own, whose workers find the envs that lie beside the tests."""
    folders = [request.path.parent, PAINTED_WORLD, os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, filter(None, folders))))
        ray.init(
            address="local",
            num_cpus=8,
            include_dashboard=False,
            object_store_memory=200_000_000,
            log_to_driver=False,
        )
        yield
        ray.shutdown()


@pytest.fixture(scope="module", autouse=True)
def _no_ray_is_left_behind():
    """A Ray that one file leaves running fails every later one, far from the cause."""
    yield
    assert not ray.is_initialized()
