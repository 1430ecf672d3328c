"""Frames that stopped showing the env raise an alarm that names the sub-envs."""

import pickle
import types

import numpy as np
import pytest
from cases.envs import BlackLater, EverySecondBlack, Frozen, Painted

from rllib_vlm_reward.monitoring.frame_statistics import FrameAlarms, FrameCounter

PICTURES = np.random.default_rng(0).integers(0, 256, (100, 20, 30, 3), np.uint8)


def episode(name, agent=None):
    return types.SimpleNamespace(id_=name, agent_id=agent)


def play(kind, iterations, *, sub_envs=2, steps=60, env_runner=1):
    """Yield the alarms after each iteration of random play."""
    rng, counter, alarms = np.random.default_rng(0), FrameCounter(), FrameAlarms()
    Painted.made = kind.made = 0
    envs = [kind() for _ in range(sub_envs)]
    for seed, env in enumerate(envs):
        env.reset(seed=seed)
    episodes = [0] * sub_envs
    for _ in range(iterations):
        for _ in range(steps // sub_envs):
            frames, names = [], []
            for row, env in enumerate(envs):
                observation, _, terminated, truncated, _ = env.step(int(rng.integers(2)))
                frames.append(observation)
                names.append(episode(f"{row}-{episodes[row]}"))
                if terminated or truncated:
                    env.reset()
                    episodes[row] += 1
            counter.see(range(sub_envs), names, frames)
        yield {alarm.kind: alarm.text for alarm in alarms.update([(env_runner, counter.take())])}


def test_an_env_that_renders_is_quiet():
    assert [*play(Painted, 12)] == [{}] * 12


class CountsBlack(BlackLater):
    """Counts the frames that are black."""

    black = 0

    def frame(self):
        frame = super().frame()
        CountsBlack.black += not frame.any()
        return frame


def test_frames_that_turn_black_are_noticed_within_three_iterations_of_sixty_steps():
    CountsBlack.black = 0
    before, since = [], []
    for alarms in play(CountsBlack, 20):
        (since if CountsBlack.black else before).append({*alarms})
    assert min(len(before), len(since)) > 4
    assert before == [set()] * len(before)
    assert since[2:] == [{"blank"}] * (len(since) - 2)


def test_black_frames_of_one_sub_env_name_it():
    (first,) = play(EverySecondBlack, 1)
    assert set(first) == {"blank"}
    assert "30 of the last 30 frames" in first["blank"]
    assert "(sub-env 1 of env runner 1)" in first["blank"]
    assert "expected at most 50%" in first["blank"]


@pytest.mark.parametrize("sub_envs", [1, 2])
def test_frames_that_never_change_are_noticed_within_three_iterations(sub_envs):
    *_, last = play(Frozen, 3, sub_envs=sub_envs)
    assert set(last) == {"frozen"}
    assert all(f"sub-env {row} of env runner 1" in last["frozen"] for row in range(sub_envs))


def runs(*parts):
    """Return ``still`` after frames, each given as (episode, picture, number)."""
    counter = FrameCounter()
    for name, picture, number in parts:
        for _ in range(number):
            counter.see([0], [episode(name)], [PICTURES[picture]])
    return counter.take()[0].still


@pytest.mark.parametrize(
    ("parts", "still"),
    [
        ([("a", 0, 40)], 0),  # one episode says nothing
        ([("a", 0, 20), ("b", 0, 5)], 25),
        ([("a", 1, 1), ("a", 0, 20), ("b", 0, 5)], 0),  # no whole episode
        ([("a", 1, 1), ("a", 0, 20), ("b", 0, 5), ("c", 0, 1)], 26),
        ([("a", 0, 20), ("b", 0, 5), ("b", 1, 1)], 0),  # it moves again
        ([(name, 0, 1) for name in "abcdefghijklmnop"], 0),  # scored_steps: last
    ],
)
def test_frozen_is_a_whole_episode_and_more(parts, still):
    assert runs(*parts) == still


def test_a_run_of_equal_frames_goes_on_in_the_next_fragment():
    counter = FrameCounter()
    counter.see([0] * 12, [episode("a")] * 12, [PICTURES[0]] * 12)
    assert counter.take()[0].still == 0
    counter.see([0], [episode("b")], [PICTURES[0]])
    assert counter.take() == [(0, 1, 0, 13, "")]
    assert counter.take() == []


def test_the_env_may_reuse_the_memory_of_its_frames():
    counter, frame = FrameCounter(), PICTURES[0].copy()
    for name in "aaaaaaaaaaaab":
        frame[0, 0] += 1
        counter.see([0], [episode(name)], [frame])
    assert counter.take()[0].still == 0


def test_a_change_of_one_pixel_is_a_change_and_a_colour():
    for pixel in np.ndindex(20, 30):
        frame = np.full((20, 30, 3), 7, np.uint8)
        counter = FrameCounter()
        counter.see([0] * 12, [episode("a")] * 12, [frame] * 12)
        changed = frame.copy()
        changed[pixel] += 1
        counter.see([0], [episode("b")], [changed])
        assert counter.take() == [(0, 13, 12, 0, "")]


def test_agents_of_a_sub_env_have_frames_of_their_own():
    counter = FrameCounter()
    for name in "aaaaaab":
        both = [episode(name, "left"), episode(name, "right")]
        counter.see([0, 0], both, PICTURES[:2])
    assert counter.take()[0].still == 7


def test_fades_are_no_blank_frames():
    alarms = FrameAlarms()
    assert alarms.update([(0, [(0, 40, 20, 0, "")])]) == []
    assert [alarm.kind for alarm in alarms.update([(0, [(0, 40, 40, 0, "")])])] == ["blank"]
    assert alarms.update([(0, [(0, 80, 0, 0, "")])]) == []
    assert FrameAlarms().update([(0, [(0, 9, 9, 9, "")])]) == []


def test_the_state_goes_on():
    alarms, restored = FrameAlarms(), FrameAlarms()
    alarms.update([(2, [(0, 9, 9, 0, "")])])
    restored.set_state(pickle.loads(pickle.dumps(alarms.get_state())))
    assert [it.kind for it in restored.update([(2, [(0, 1, 1, 0, "")])])] == ["blank"]
    (before,) = alarms.get_state()
    restored.set_state([[row[:5] for row in before]])  # from before there were experts
    assert [it.kind for it in restored.update([(2, [(0, 1, 1, 0, "")])])] == ["blank"]
    restored.set_state(())
    assert restored.update([(2, [(0, 1, 1, 0, "")])]) == []


def test_each_frame_source_is_counted_and_named():
    counter, alarms = FrameCounter(), FrameAlarms()
    for step in range(30):
        episodes, moving = [episode(f"e{step // 12}")], [PICTURES[step]]
        counter.see([0], episodes, moving, "obs")
        counter.see([0], episodes, [np.zeros((8, 8, 3), np.uint8)], "info:black")
        counter.see([0], episodes, [PICTURES[0]], "info:still")
    found = {alarm.kind: alarm.text for alarm in alarms.update([(3, counter.take())])}
    assert set(found) == {"blank", "frozen"}
    assert "30 of the last 30 frames" in found["blank"]
    assert "(info:black of sub-env 0 of env runner 3)" in found["blank"]
    assert "(info:still of sub-env 0 of env runner 3)" in found["frozen"]
