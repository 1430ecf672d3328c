"""Play: seeded, varied, apart from what is held out, and taken up again where it ended."""

import json

import gymnasium as gym
import numpy as np
import pytest

from rllib_vlm_reward import Box, Captions, Template
from rllib_vlm_reward.errors import ConfigError, FrameError, LabelError
from rllib_vlm_reward.pretraining.recorded_play import CAPTIONS, FRAMES, play
from rllib_vlm_reward.pretraining.world import World


class Lamp(gym.Env):
    """A lamp that each action turns on or off; its captions are what a test makes of them."""

    observation_space = gym.spaces.Box(0, 255, (8, 8, 3), np.uint8)
    action_space = gym.spaces.Discrete(2)
    templates = {"lamp": Template("turn the {} lamp on", "the {} lamp is on", "it is dark")}  # noqa: RUF012

    def __init__(self, env_config):
        self.say = env_config.get("say")
        self.sizes = iter(env_config.get("sizes", ()))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.on = False
        return self._frame(), {"goal": "turn the red lamp on", "success": False}

    def step(self, action):
        self.on = bool(action)
        return self._frame(), 0.0, False, False, {"success": self.on}

    def _frame(self):
        size = next(self.sizes, 8)
        noise = self.np_random.integers(0, 100, (size, size, 3), np.uint8)
        return noise + np.uint8(150) * np.uint8(self.on)

    def captions(self):
        if self.say:
            return self.say(self.on)
        true, false = ("the red lamp is on", "it is dark")[:: 1 if self.on else -1]
        return Captions({"lamp": {true}}, {"lamp": {false}}, {})


LAMP = f"{__name__}.Lamp"


def test_a_seed_gives_one_play(rooms, tmp_path):
    one, again, other = (
        play(rooms, 100, tmp_path / name, seed=seed)
        for name, seed in (("one", 3), ("again", 3), ("other", 4))
    )
    np.testing.assert_array_equal(one.frames, again.frames)
    for name in one.families:
        np.testing.assert_array_equal(one.holds[name], again.holds[name])
    assert (one.frames != other.frames).any()


def test_captions_are_those_of_their_frames(data, rooms):
    """BabyAI's bright lower middle tile is what the agent carries."""
    lift = data.families["lift"]
    empty = data.holds["lift"][:, lift.statements.index(lift.nothing)]
    hands = data.frames[:, 48:56, 24:32]
    triangle = hands[np.flatnonzero(empty)[0]]
    np.testing.assert_array_equal((hands == triangle).all(axis=(1, 2, 3)), empty)


def test_held_out_layouts_are_never_trained_on(tmp_path, monkeypatch):
    seeds = {True: set(), False: set()}

    class Noted(Lamp):
        def reset(self, *, seed=None, options=None):
            seeds[held_out].add(seed)
            return super().reset(seed=seed)

    monkeypatch.setitem(globals(), "Noted", Noted)
    world = World(f"{__name__}.Noted")
    for held_out in (True, False):
        for seed in (0, 1):
            play(world, 3000, tmp_path / f"{held_out}{seed}", seed=seed, held_out=held_out)
    assert len(seeds[True]) > 20
    assert len(seeds[False]) > 20
    assert {seed % 2 for seed in seeds[True]} == {1}
    assert {seed % 2 for seed in seeds[False]} == {0}


@pytest.mark.parametrize(("family", "least"), [("find", 0.1), ("lift", 0.1), ("place", 0.3)])
def test_play_is_not_all_nothing(data, family, least):
    goals = data.families[family].goals
    assert data.holds[family][:, goals].any(axis=1).mean() > least
    if family != "place":
        assert (data.holds[family].mean(axis=0) > 0.001).all(), "it meets every object"


@pytest.mark.parametrize("tear", ["half a line", "frames without a line", "nothing"])
def test_play_that_was_interrupted_goes_on_where_it_was(tmp_path, tear):
    whole = play(World(LAMP), 350, tmp_path / "whole")
    part = tmp_path / "part"
    play(World(LAMP), 202, part)
    if tear == "half a line":
        with (part / CAPTIONS).open("a") as file:
            file.write('{"true": {"lamp": [[0')
    if tear == "frames without a line":
        with (part / FRAMES).open("ab") as file:
            file.write(b"x" * 1000)
    resets = []
    world = World(LAMP)
    reset = world.env.reset
    world.env.reset = lambda **kwargs: resets.append(kwargs) or reset(**kwargs)
    got = play(world, 303, part)
    np.testing.assert_array_equal(got.frames, whole.frames[:303])
    np.testing.assert_array_equal(got.holds["lamp"], whole.holds["lamp"][:303])
    assert len(resets) == 1, "the first two episodes are not played again"


def test_unclear_statements_neither_hold_nor_fail(tmp_path):
    def say(on):
        both = {"the red lamp is on", "it is dark"}
        return Captions({}, {}, {"lamp": both}) if on else Captions({"lamp": both}, {}, {})

    data = play(World(LAMP, {"say": say}), 101, tmp_path)
    assert data.families["lamp"].statements == ("it is dark", "the red lamp is on")
    assert data.families["lamp"].goals.tolist() == [False, True]
    np.testing.assert_array_equal(data.holds["lamp"][:, 0], data.frames.max(axis=(1, 2, 3)) < 100)
    assert not data.fails["lamp"].any()


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        (lambda on: {"lamp": {"on"}}, "captions() returned a dict"),
        (lambda on: Captions({"lamp": {f"on is {on}"}}, {}, {}), "more than before"),
        (lambda on: Captions({"lamp": {"on"}}, {"lamp": {"on"}}, {}), "'on'] twice"),
    ],
)
def test_captions_of_another_form_are_an_error(tmp_path, captions, message):
    with pytest.raises((ConfigError, LabelError)) as error:
        play(World(LAMP, {"say": captions}), 101, tmp_path)
    assert message in str(error.value)


def test_frames_of_two_sizes_are_an_error(tmp_path):
    with pytest.raises(FrameError, match=r"got a frame \[9, 9, 3\] after \[8, 8, 3\]"):
        play(World(LAMP, {"sizes": [8, 8, 9]}), 101, tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Nowhere-v0", "gymnasium knows no such id"),
        ("nowhere.Env", "cannot import 'nowhere.Env'"),
        ("rllib_vlm_reward/Rooms-v0", "cannot be made with {'color': 'red'}"),
    ],
)
def test_an_env_that_cannot_be_made_is_an_error(name, message):
    with pytest.raises(ConfigError) as error:
        World(name, {"color": "red"})
    assert message in str(error.value)


def test_the_captions_are_kept_as_text(tmp_path):
    play(World(LAMP), 101, tmp_path)
    first, second = (tmp_path / CAPTIONS).read_text().splitlines()
    assert json.loads(first)["statements"] == {"lamp": ["it is dark", "the red lamp is on"]}
    assert len(json.loads(second)["true"]["lamp"]) == 101


class BoxedLamp(Lamp):
    """The lamp, whose boxes are what a test makes of them."""

    def __init__(self, env_config):
        super().__init__(env_config)
        self.given = env_config["boxes"]

    def boxes(self):
        return self.given


def boxed(*boxes):
    return World(f"{__name__}.BoxedLamp", {"boxes": boxes})


@pytest.mark.parametrize("box", [Box, lambda *parts: parts], ids=["Box", "tuple"])
@pytest.mark.parametrize("number", [float, np.float32])
def test_boxes_of_any_numbers_are_kept(box, number, tmp_path):
    given = box("lamp", *map(number, (0, 0.25, 0.5, 1)))
    data = play(boxed(given), 10, tmp_path)
    assert data.boxes == [[Box("lamp", 0.0, 0.25, 0.5, 1.0)]] * 10


@pytest.mark.parametrize(
    "box",
    [
        ("lamp", 0.0, 0.0, 1.0),
        (0.0, 0.0, 1.0, 1.0, "lamp"),
        Box("lamp", 0, 0, 8, 8),
        Box("lamp", 0.5, 0.0, 0.5, 1.0),
        Box("lamp", 0.0, 0.6, 1.0, 0.4),
        Box("lamp", float("nan"), 0.0, 1.0, 1.0),
        None,
    ],
    ids=str,
)
def test_a_box_that_is_none_names_the_env(box, tmp_path):
    with pytest.raises(LabelError, match=r"BoxedLamp: boxes\(\) returned .* expected .*Box\(name"):
        play(boxed(box), 10, tmp_path)
