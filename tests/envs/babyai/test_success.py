"""Ground truth against BabyAI's reward, which it never reads."""

import contextlib
import io

import gymnasium as gym
import minigrid  # noqa: F401  (registers its levels)
import numpy as np
import pytest
from minigrid.core.actions import Actions
from minigrid.utils.baby_ai_bot import BabyAIBot

from rllib_vlm_reward.envs.babyai.ground_truth import accomplished
from rllib_vlm_reward.envs.babyai.level import Find, Lift, Place, Playroom
from rllib_vlm_reward.errors import GoalError

WALK = (Actions.left, Actions.right, Actions.forward, Actions.pickup, Actions.drop)


def quiet_reset(level, seed):
    with contextlib.redirect_stdout(io.StringIO()):
        level.reset(seed=seed)


def play(level, steps, *, bot_share=0.5):
    """Yield (success, reward) at each step of random and of the bot's play."""
    rng = np.random.default_rng(0)
    seed, fresh = 0, True
    for _ in range(steps):
        if fresh:
            quiet_reset(level, seed)
            bot = BabyAIBot(level) if rng.random() < bot_share else None
            seed += 1
        action = bot.replan() if bot else WALK[rng.choice(5, p=(0.2, 0.2, 0.3, 0.2, 0.1))]
        _, reward, terminated, truncated, _ = level.step(action)
        yield accomplished(level), reward
        fresh = terminated or truncated


@pytest.mark.parametrize(
    "make",
    [
        lambda: Find(room_size=5, num_objects=3),
        lambda: Find(room_size=8, num_objects=6),
        lambda: Lift(room_size=5, num_objects=3),
        lambda: Lift(room_size=8, num_objects=6),
        lambda: Playroom(room_size=5, families=("find", "lift")),
        lambda: gym.make("BabyAI-GoToLocal-v0", disable_env_checker=True).unwrapped,
        lambda: gym.make("BabyAI-PickupDist-v0", disable_env_checker=True).unwrapped,
    ],
)
def test_find_and_lift_succeed_exactly_where_babyai_pays(make):
    outcomes = np.array([(success, reward > 0) for success, reward in play(make(), 2000)])
    np.testing.assert_array_equal(outcomes[:, 0], outcomes[:, 1])
    assert 10 < outcomes[:, 0].sum() < len(outcomes) - 10


@pytest.mark.parametrize("room_size", [5, 6])
def test_place_succeeds_wherever_babyai_pays(room_size):
    level = Place(room_size=room_size, num_objects=3)
    outcomes = np.array([(success, reward > 0) for success, reward in play(level, 2000)])
    assert outcomes[:, 1].sum() > 10
    assert outcomes[outcomes[:, 1], 0].all()


def hold_beside(level, held, other):
    """Put ``held`` into the agent's hand, facing a free cell next to ``other``."""
    level.grid.set(*held.cur_pos, None)
    level.carrying, held.cur_pos = held, np.array((-1, -1))

    def free(cell):
        return level.grid.get(*cell) is None

    around = np.array(((1, 0), (0, 1), (-1, 0), (0, -1)))  # by the agent's direction
    for cell in other.cur_pos + around:
        for direction, step in enumerate(around):
            if free(cell) and free(cell - step):
                level.agent_pos, level.agent_dir = tuple(cell - step), direction
                return
    raise AssertionError("no free cell")


@pytest.mark.parametrize("moved", ["first", "second"])
def test_place_pays_for_the_first_object_alone_but_the_picture_is_the_same(moved):
    level = Place(room_size=7, num_objects=2)
    quiet_reset(level, 3)
    first, second = level.instrs.desc_move.obj_set[0], level.instrs.desc_fixed.obj_set[0]
    held, other = (first, second) if moved == "first" else (second, first)
    hold_beside(level, held, other)
    level.step(Actions.done)  # BabyAI pays for a drop of what it saw carried before.
    assert not accomplished(level), "what is carried lies next to nothing"
    _, reward, *_ = level.step(Actions.drop)
    assert accomplished(level)
    assert (reward > 0) == (moved == "first")


def test_a_diagonal_is_not_next_to():
    level = Place(room_size=7, num_objects=2)
    quiet_reset(level, 3)
    first, second = level.instrs.desc_move.obj_set[0], level.instrs.desc_fixed.obj_set[0]
    for offset, expected in (((1, 1), False), ((0, 2), False), ((0, 1), True), ((-1, 0), True)):
        first.cur_pos = np.array(second.cur_pos) + offset
        assert accomplished(level) is expected


def test_truth_asks_nothing_of_babyais_own_verifier(monkeypatch):
    level = Lift()
    quiet_reset(level, 0)
    monkeypatch.setattr(level.instrs, "verify", lambda action: pytest.fail("it keeps state"))
    assert accomplished(level) is False


def test_a_mission_of_another_kind_is_an_error():
    level = gym.make("BabyAI-Unlock-v0", disable_env_checker=True).unwrapped
    quiet_reset(level, 0)
    with pytest.raises(GoalError, match="OpenInstr, expected go to, pick up or put next"):
        accomplished(level)
