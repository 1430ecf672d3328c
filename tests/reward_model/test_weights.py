import pickle
import random

import pytest
import safetensors.torch
import torch
from torch import nn

from rllib_vlm_reward.errors import CheckpointError
from rllib_vlm_reward.reward_model.weights import fingerprint, load_weights, read_weights


class Boom:
    """A pickle that writes a file when it is opened."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


def linear():
    torch.manual_seed(1)
    return nn.Linear(3, 2)


def assert_same(read, model):
    assert read.keys() == model.state_dict().keys()
    assert all(torch.equal(read[key], value) for key, value in model.state_dict().items())


def test_reads_safetensors(tmp_path):
    safetensors.torch.save_file(linear().state_dict(), tmp_path / "a.safetensors")
    assert_same(read_weights(tmp_path / "a.safetensors"), linear())


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin"])
def test_reads_what_torch_saves(tmp_path, suffix):
    torch.save(linear().state_dict(), tmp_path / f"a{suffix}")
    assert_same(read_weights(tmp_path / f"a{suffix}"), linear())


def test_reads_a_distributed_training_checkpoint(tmp_path):
    state = {f"module.{key}": value for key, value in linear().state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state, "optimizer": {}}, tmp_path / "a.pt")
    assert_same(read_weights(tmp_path / "a.pt"), linear())


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_code_is_refused(tmp_path, protocol):
    target, path = tmp_path / "ran", tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps({"weight": Boom(target)}, protocol=protocol))
    with pytest.raises(CheckpointError, match=r"evil\.pt: refused.*can run code.*safetensors"):
        read_weights(path)
    assert not target.exists()
    pickle.loads(path.read_bytes())["weight"].close()
    assert target.exists()  # so the file was live


def test_a_torch_archive_that_would_run_code_is_refused(tmp_path):
    target, path = tmp_path / "ran", tmp_path / "evil.bin"
    torch.save({"state_dict": linear().state_dict(), "extra": Boom(target)}, path)
    with pytest.raises(CheckpointError, match="refused"):
        read_weights(path)
    assert not target.exists()


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04 torn"])
def test_a_damaged_file_is_an_error(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"^checkpoint .*{name}: .*Copy it again"):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("name", ["a.safetensors", "zipped.pt", "pickled.pt"])
def test_a_file_that_ends_too_early_is_an_error(tmp_path, name):
    path = tmp_path / name
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(linear().state_dict(), path)
    else:
        zipped = name == "zipped.pt"
        torch.save(linear().state_dict(), path, _use_new_zipfile_serialization=zipped)
    assert_same(read_weights(path), linear())
    whole = path.read_bytes()
    for length in range(0, len(whole), 20):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=rf"^checkpoint .*{name}: .*Copy it again"):
            read_weights(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("zipped", [True, False])
def test_flipped_bytes_are_an_error_of_ours_or_harmless(tmp_path, zipped):
    path, rng = tmp_path / "a.pt", random.Random(0)
    torch.save(linear().state_dict(), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    refused = 0
    for _ in range(300):
        torn = bytearray(whole)
        for _ in range(rng.randint(1, 6)):
            torn[rng.randrange(len(torn))] = rng.randrange(256)
        path.write_bytes(torn)
        try:
            read_weights(path)
        except CheckpointError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    ("content", "said"),
    [([1, 2], "got list"), ({}, "got dict"), ({"a": 1}, "not tensors"), ({1: "b"}, "not tensors")],
)
def test_a_file_of_something_else_is_an_error(tmp_path, content, said):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=said):
        read_weights(tmp_path / "a.pt")


def test_loads_every_value():
    model = nn.Linear(3, 2)
    load_weights(model, linear().state_dict(), source="a.pt")
    assert_same(model.state_dict(), linear())


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"weight": torch.zeros(2, 3)}, r"1 missing \['bias'\]"),
        (
            {"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "more": torch.zeros(1)},
            r"1 unexpected \['more'\]",
        ),
        (
            {"weight": torch.zeros(2, 3), "bias": torch.zeros(5)},
            r"1 of another shape \['bias \[5\] for \[2\]'\]",
        ),
    ],
)
def test_misfits_are_named_and_nothing_is_loaded(weights, said):
    model = linear()
    with pytest.raises(CheckpointError, match=rf"^a\.pt: .*another architecture.*{said}"):
        load_weights(model, weights, source="a.pt")
    assert_same(model.state_dict(), linear())


def test_fingerprint_is_of_names_types_shapes_and_values():
    model = linear()
    same = fingerprint(model)
    assert fingerprint(linear()) == same
    renamed = nn.Sequential(linear())
    transposed = nn.Linear(2, 3)
    transposed.load_state_dict({"weight": model.weight.view(3, 2), "bias": torch.zeros(3)})
    nudged = linear()
    nudged.weight.data[0, 0] += 1e-6
    others = [fingerprint(other) for other in (renamed, transposed, nudged, linear().double())]
    assert len({same, *others}) == 5


@pytest.mark.parametrize(("value", "kind"), [(float("nan"), "NaN"), (-float("inf"), "infinite")])
def test_weights_that_are_not_finite_are_refused_by_name(value, kind):
    model = torch.nn.Linear(2, 1)
    before = model.weight.clone()
    weights = {"weight": torch.tensor([[1.0, value]]), "bias": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=rf"mine\.pt: the weights hold {kind}.* in weight"):
        load_weights(model, weights, source="mine.pt")
    assert torch.equal(model.weight, before)
