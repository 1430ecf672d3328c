import gymnasium as gym
import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, linear, relu

from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.policies.film import FilmEncoder
from rllib_vlm_reward.policies.memory import make_encoder


def space(side=24, dim=6):
    return gym.spaces.Dict(
        observation=gym.spaces.Box(0, 255, (side, side, 3), np.uint8),
        goal=gym.spaces.Box(-1, 1, (dim,), np.float32),
    )


def make(**settings):
    torch.manual_seed(0)
    return FilmEncoder(space(), settings)


def batch(size=5, dim=6):
    rng = np.random.default_rng(0)
    return {
        "obs": {
            "observation": torch.from_numpy(rng.integers(0, 256, (size, 24, 24, 3), np.uint8)),
            "goal": torch.from_numpy(rng.standard_normal((size, dim), np.float32)),
        }
    }


def test_the_goal_scales_and_shifts_what_is_seen():
    encoder, data = make(), batch()
    frame, goal = data["obs"]["observation"], data["obs"]["goal"] * 6**0.5
    seen = conv2d(
        frame.float().movedim(-1, 1) / 127.5 - 1, encoder.patches.weight, encoder.patches.bias, 8
    )
    film = linear(goal, encoder.film.weight, encoder.film.bias)
    scale, shift = film[:, :32, None, None], film[:, 32:, None, None]
    mixed = conv2d(relu(seen * (1 + scale) + shift), encoder.mix.weight, encoder.mix.bias)
    features = encoder.trunk(torch.cat([relu(mixed).flatten(1), goal], 1))
    torch.testing.assert_close(encoder(data)["encoder_out"], features)


def test_the_batch_stays_as_it_is():
    encoder, data = make(), batch()
    data["obs"]["observation"] = data["obs"]["observation"].float()
    before = {key: value.clone() for key, value in data["obs"].items()}
    first = encoder(data)["encoder_out"]
    assert all(torch.equal(value, before[key]) for key, value in data["obs"].items())
    torch.testing.assert_close(first, make()(batch())["encoder_out"])  # of uint8


def test_a_map_is_a_channel_of_the_frame():
    torch.manual_seed(0)
    maps = gym.spaces.Box(0, 1, (3, 2, 1), np.float32)
    encoder, data = FilmEncoder(gym.spaces.Dict({**space().spaces, "map": maps}), {}), batch()
    shown = torch.rand(5, 3, 2, 1, generator=torch.Generator().manual_seed(0))
    data["obs"]["map"] = shown
    frame, goal = data["obs"]["observation"], data["obs"]["goal"] * 6**0.5
    image = frame.float().movedim(-1, 1) / 127.5 - 1
    # Each entry covers 8 × 12 pixels of the 24 × 24.
    enlarged = shown.movedim(-1, 1).repeat_interleave(8, dim=2).repeat_interleave(12, dim=3)
    seen = conv2d(torch.cat([image, enlarged], 1), encoder.patches.weight, encoder.patches.bias, 8)
    film = linear(goal, encoder.film.weight, encoder.film.bias)
    scale, shift = film[:, :32, None, None], film[:, 32:, None, None]
    mixed = conv2d(relu(seen * (1 + scale) + shift), encoder.mix.weight, encoder.mix.bias)
    features = encoder.trunk(torch.cat([relu(mixed).flatten(1), goal], 1))
    torch.testing.assert_close(encoder(data)["encoder_out"], features)


@pytest.mark.parametrize("settings", [{"patch_size": [4, 2]}, {"memory": "lstm"}], ids=str)
def test_each_encoder_reads_the_map(settings):
    maps = gym.spaces.Box(0, 1, (7, 7, 1), np.float32)
    torch.manual_seed(0)
    encoder, _ = make_encoder(gym.spaces.Dict({**space().spaces, "map": maps}), settings)
    data, found = batch(), []
    if "memory" in settings:
        data["state_in"] = {name: torch.zeros(1, 128) for name in ("hidden", "cell")}
    for shown in (torch.zeros(5, 7, 7, 1), torch.ones(5, 7, 7, 1)):
        seen = {**data["obs"], "map": shown}
        if "memory" in settings:
            seen = {name: part[None] for name, part in seen.items()}
        found.append(encoder({**data, "obs": seen})["encoder_out"].detach())
    assert float((found[0] - found[1]).abs().max()) > 1e-3


def test_settings_size_the_network():
    encoder = make(patch_size=4, channels=5, hidden=7)
    assert encoder.patches.weight.shape == (5, 3, 4, 4)
    assert encoder(batch())["encoder_out"].shape == (5, 7)


def test_a_patch_is_read_in_parts():
    """With 4 and 2, a patch of 8 pixels a side is read as 2 × 2 parts of 4 pixels."""
    encoder, data = make(patch_size=[4, 2], channels=5), batch()
    shapes = [layer.weight.shape for layer in (encoder.stem[0], encoder.patches)]
    assert shapes == [(5, 3, 4, 4), (5, 5, 2, 2)]
    features = []
    encoder.mix.register_forward_hook(lambda *call: features.append(call[-1]))
    encoder(data)
    assert features[0].shape == (5, 5, 3, 3)
    data["obs"]["observation"][:, 8:16, 16:] = 0  # one patch
    encoder(data)
    changed = (features[1] != features[0]).any(dim=1)
    assert changed.any(dim=0).nonzero().tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("observation_space", "error", "message"),
    [
        (gym.spaces.Box(0, 255, (24, 24, 3), np.uint8), GoalError, "goal_embedding: true"),
        (space(side=20), ValueError, "divisor"),
        (
            gym.spaces.Dict(
                observation=gym.spaces.Box(0, 1, (4,)), goal=gym.spaces.Box(0, 1, (4,))
            ),
            GoalError,
            "frame space",
        ),
        (  # of 0 to 1, it would be all but black
            gym.spaces.Dict(
                observation=gym.spaces.Box(0, 1, (24, 24, 3)), goal=gym.spaces.Box(0, 1, (4,))
            ),
            GoalError,
            "expected uint8",
        ),
    ],
)
def test_foreign_observations_are_refused(observation_space, error, message):
    with pytest.raises(error, match=message):
        FilmEncoder(observation_space, {})
