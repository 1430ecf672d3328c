"""Steps to go: on hand-made grids, and against brute force that steps the real level."""

import contextlib
import copy
import io
import math

import gymnasium as gym
import minigrid  # noqa: F401  (registers its levels)
import numpy as np
import pytest
from minigrid.core.actions import Actions
from minigrid.core.world_object import Ball

from rllib_vlm_reward.envs.babyai.env import make_babyai, make_find, make_lift, make_place
from rllib_vlm_reward.envs.babyai.ground_truth import accomplished, steps_to_go
from rllib_vlm_reward.envs.babyai.level import Find, Lift, Place, Playroom
from rllib_vlm_reward.errors import GoalError

MOVES = (Actions.left, Actions.right, Actions.forward, Actions.pickup, Actions.drop)
EAST, SOUTH, WEST, NORTH = range(4)


def named(level):
    instruction = level.instrs
    descriptions = [getattr(instruction, name, None) for name in ("desc", "desc_move")]
    descriptions.append(getattr(instruction, "desc_fixed", None))
    return [thing for each in descriptions if each for thing in each.obj_set]


def drawn(kind, picture, direction):
    """Return a level as it is drawn: a, b what is named, o another thing, ^ the agent."""
    size = len(picture)
    level = kind(room_size=size, num_objects=2 + sum(row.count("o") for row in picture))
    with contextlib.redirect_stdout(io.StringIO()):
        level.reset(seed=0)
    things = {True: named(level), False: []}
    for cell in level.grid.grid:
        if cell is not None and cell.can_pickup() and cell not in things[True]:
            things[False].append(cell)
    for thing in things[True] + things[False]:
        level.grid.set(*thing.cur_pos, None)
    for y, row in enumerate(picture):
        for x, mark in enumerate(row):
            if mark in "abo":
                thing = things[False].pop() if mark == "o" else things[True]["ab".index(mark)]
                level.grid.set(x, y, thing)
                thing.cur_pos = np.array((x, y))
            elif mark == "^":
                level.agent_pos, level.agent_dir = (x, y), direction
    return level


EMPTY = ["######", "#^   #", "#    #", "#    #", "#   a#", "######"]
WALLED = ["######", "#^o  #", "#oo  #", "#    #", "#   a#", "######"]
ROUND = ["######", "#^o a#", "# o  #", "#    #", "#    #", "######"]
PAIR = ["######", "#^   #", "#    #", "#a  b#", "#    #", "######"]


@pytest.mark.parametrize(
    ("kind", "picture", "direction", "steps"),
    [
        (Find, EMPTY, EAST, 6),  # 3 forward, turn, 2 forward: the ball is ahead
        (Find, EMPTY, WEST, 7),  # a turn to the south first: 1 + 3 + 1 + 2
        (Lift, EMPTY, EAST, 7),
        (Find, WALLED, EAST, math.inf),
        # South, 2 forward, east, 2 forward, north, 1 forward: ahead is (3, 1); then 1 to the east.
        (Find, ROUND, SOUTH, 8),
        (Lift, ROUND, SOUTH, 9),
        # To (1, 2), pickup, to (1, 3), east, drop at (2, 3)? That is 2 from b: 1 forward, drop.
        (Place, PAIR, SOUTH, 6),
    ],
)
def test_hand_made_grids(kind, picture, direction, steps):
    assert steps_to_go(drawn(kind, picture, direction)) == steps


def state(level, things):
    held = things.index(level.carrying) if level.carrying is not None else None
    lying = tuple(tuple(int(at) for at in thing.cur_pos) for thing in things)
    return tuple(map(int, level.agent_pos)), int(level.agent_dir), held, lying


def restore(level, things, where):
    level.agent_pos, level.agent_dir, held, lying = where
    for thing in things:
        if thing.cur_pos[0] >= 0:
            level.grid.set(*thing.cur_pos, None)
    for thing, at in zip(things, lying, strict=True):
        thing.cur_pos = np.array(at)
        if at[0] >= 0:
            level.grid.set(*at, thing)
    level.carrying = None if held is None else things[held]


def brute_force(level, *, moves_all):
    """Return the length of the shortest plan that real steps find, in a copy of the level."""
    level = copy.deepcopy(level)
    level.gen_obs = lambda: None  # most of a step's time, and nothing here
    level.max_steps = 10**9
    goal_things = named(level)
    things = [cell for cell in level.grid.grid if cell is not None and cell.can_pickup()]
    things += [level.carrying] if level.carrying is not None else []
    if accomplished(level):
        return 0
    failed = isinstance(level, Lift) and level.carrying is not None
    edge, seen, steps = [] if failed else [state(level, things)], set(), 0
    seen.update(edge)
    while edge:
        steps += 1
        after = []
        for where in edge:
            for action in MOVES:
                restore(level, things, where)
                ahead = level.grid.get(*level.front_pos)
                if action == Actions.pickup and ahead not in goal_things and not moves_all:
                    continue
                terminated = level.step(action)[2]
                if accomplished(level):
                    return steps
                reached = state(level, things)
                if not terminated and reached not in seen:
                    seen.add(reached)
                    after.append(reached)
        edge = after
    return math.inf


def states(kind, number, *, num_objects, seed=0, **kwargs):
    """Yield levels in states that random play leads to."""
    level = kind(room_size=5, num_objects=num_objects, **kwargs)
    rng = np.random.default_rng(seed)
    while number:
        with contextlib.redirect_stdout(io.StringIO()):
            level.reset(seed=int(rng.integers(2**30)))
        for _ in range(rng.integers(12)):
            ahead = level.grid.get(*level.front_pos)
            take = ahead is not None and ahead.can_pickup() and rng.random() < 0.7
            if level.step(Actions.pickup if take else rng.choice(MOVES[:3]))[2]:
                break
        number -= 1
        yield level


@pytest.mark.parametrize("kind", [Find, Lift])
def test_find_and_lift_equal_brute_force(kind):
    known = []
    for level in states(kind, 40, num_objects=4):
        known.append(brute_force(level, moves_all=False))
        assert steps_to_go(level) == known[-1]
    assert len({*known}) > 4


@pytest.mark.parametrize("num_objects", [2, 3])
def test_place_equals_brute_force_that_moves_the_named_alone(num_objects):
    known, hands = [], set()
    for level in states(Place, 40, num_objects=num_objects):
        known.append(brute_force(level, moves_all=False))
        assert steps_to_go(level) == known[-1]
        hands.add((level.carrying is None, level.carrying in named(level)))
    assert len({*known}) > 4
    assert len(hands) == num_objects


def test_no_plan_beats_a_brute_force_that_may_move_all():
    for level in states(Place, 20, num_objects=3):
        assert steps_to_go(level) >= brute_force(level, moves_all=True)


def test_in_a_playroom_what_is_carried_can_be_dropped_to_be_faced():
    level = Playroom(room_size=6, families=("find",))
    with contextlib.redirect_stdout(io.StringIO()):
        level.reset(seed=0)
    (target,) = named(level)
    level.grid.set(*target.cur_pos, None)
    level.carrying, target.cur_pos = target, np.array((-1, -1))
    level.grid.set(*level.front_pos, None)
    assert steps_to_go(level) == 1
    assert steps_to_go(level, can_drop=False) == math.inf


@pytest.mark.parametrize(("strict", "steps"), [(False, 9), (True, math.inf)])
def test_a_wrong_thing_is_dropped_first_unless_the_mission_is_strict(strict, steps):
    level = drawn(Lift, EMPTY, EAST)
    level.instrs.strict = strict
    level.carrying = Ball("grey")
    # Drop to the east, south, 3 forward, east, 2 forward, pickup: the straight way is blocked.
    assert steps_to_go(level) == steps
    assert steps_to_go(level, can_drop=False) == math.inf


@pytest.mark.parametrize("make", [make_find, make_lift, make_place])
def test_a_step_changes_it_by_one_at_most_and_it_is_0_at_success_alone(make):
    env = make(room_size=6, num_objects=4)
    env.action_space.seed(0)
    for seed in range(8):
        _, info = env.reset(seed=seed)
        before, done = env.steps_to_go(), False
        while not done:
            _, _, terminated, truncated, info = env.step(env.action_space.sample())
            now, done = env.steps_to_go(), terminated or truncated
            assert now >= before - 1
            assert (now == 0) == info["success"]
            before = now


def test_any_of_the_things_that_a_description_fits_will_do():
    env = make_babyai("BabyAI-PickupDist-v0")
    several = 0
    for seed in range(40):
        env.reset(seed=seed)
        level, things = env.unwrapped, named(env.unwrapped)
        if len(things) < 2:
            continue
        several += 1
        alone = []
        for thing in things:
            level.instrs.desc.obj_set = [thing]
            alone.append(steps_to_go(level))
        level.instrs.desc.obj_set = things
        assert steps_to_go(level) == min(alone)
    assert several > 3


def test_a_mission_of_another_kind_is_an_error():
    level = gym.make("BabyAI-Unlock-v0", disable_env_checker=True).unwrapped
    with contextlib.redirect_stdout(io.StringIO()):
        level.reset(seed=0)
    with pytest.raises(GoalError, match="OpenInstr"):
        steps_to_go(level)
