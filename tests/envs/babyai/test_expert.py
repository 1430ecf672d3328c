"""BabyAI's bot as an adviser: it solves, recovers, and admits where it has no advice."""

import numpy as np
import pytest
from minigrid.core.actions import Actions
from minigrid.utils.baby_ai_bot import BabyAIBot

from rllib_vlm_reward.envs.babyai.env import make_find, make_lift, make_place, make_playroom
from rllib_vlm_reward.envs.babyai.expert import Expert


def play(env, seed, *, noise=0.0):
    """Play one episode by the expert's advice and return its infos."""
    env.reset(seed=seed)
    env.action_space.seed(seed)
    rng, infos, done = np.random.default_rng(seed), [], False
    while not done:
        action = env.expert_action()
        assert action in env.action_space
        if rng.random() < noise:
            action = env.action_space.sample()
        _, _, terminated, truncated, info = env.step(action)
        infos.append(info)
        done = terminated or truncated
    return infos


@pytest.mark.parametrize("make", [make_find, make_lift, make_place, make_playroom])
@pytest.mark.parametrize(("noise", "share"), [(0.0, 1.0), (0.3, 0.8)])
def test_it_solves_every_mission_and_recovers_from_detours(make, noise, share):
    env = make()
    solved = [play(env, seed, noise=noise)[-1]["success"] for seed in range(15)]
    assert np.mean(solved) >= share


def test_an_episode_that_outlasts_success_is_solved_again():
    env = make_find(end_on_success=False, max_steps=60)
    successes = np.array([info["success"] for info in play(env, 1)])
    assert (np.diff(successes.astype(int)) == 1).sum() > 2


def test_advice_that_is_asked_for_late_is_of_the_present_state():
    env = make_lift()
    for seed in range(5):
        env.reset(seed=seed)
        env.expert_action()
        for _ in range(3):
            env.step(Actions.left)
        while not env.step(env.expert_action())[4]["success"]:
            assert env.steps_to_go() < 20


def test_full_hands_at_the_first_advice_leave_it_to_chance():
    env = make_place()
    env.reset(seed=0)
    level = env.unwrapped
    thing = level.instrs.desc_move.obj_set[0]
    level.grid.set(*thing.cur_pos, None)
    level.carrying, thing.cur_pos = thing, np.array((-1, -1))
    assert Expert(level).advise() is None
    assert env.expert_action() in env.action_space


@pytest.mark.parametrize("failure", [AssertionError, TypeError])
def test_a_bot_that_fails_is_replaced(monkeypatch, failure):
    env = make_find()
    env.reset(seed=0)
    expert = Expert(env.unwrapped)

    def fail(bot, *taken):
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(BabyAIBot, "replan", fail)
        assert expert.advise() is None
    assert expert.advise() == BabyAIBot(env.unwrapped).replan()
