"""The levels: what is in the room, what the mission asks, and what is refused."""

import contextlib
import io
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from minigrid.core.actions import Actions
from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel
from minigrid.envs.babyai.core.verifier import GoToInstr, ObjDesc, PickupInstr, PutNextInstr
from minigrid.utils.baby_ai_bot import BabyAIBot

from rllib_vlm_reward.envs.babyai.ground_truth import accomplished
from rllib_vlm_reward.envs.babyai.level import COLORS, KINDS, Find, Lift, Place, Playroom
from rllib_vlm_reward.envs.babyai.mission import FORMS, Mission
from rllib_vlm_reward.errors import GoalError

FAMILIES = pytest.mark.parametrize("kind", [Find, Lift, Place, Playroom])
THINGS = [(kind, color) for color in COLORS for kind in KINDS]


def quiet_reset(level, seed, goal=None):
    options = None if goal is None else {"goal": goal}
    with contextlib.redirect_stdout(io.StringIO()):
        level.reset(seed=seed, options=options)


def things(level):
    return [thing for thing in level.grid.grid if thing is not None and thing.type in KINDS]


@FAMILIES
@pytest.mark.parametrize("room_size", [5, 8])
def test_the_bot_reaches_success_in_every_episode(kind, room_size):
    level = kind(room_size=room_size, num_objects=3)
    for seed in range(20):
        quiet_reset(level, seed)
        assert not accomplished(level)
        bot, ended = BabyAIBot(level), False
        while not ended:
            _, reward, terminated, truncated, _ = level.step(bot.replan())
            ended = terminated or truncated
        assert accomplished(level)
        assert reward > 0


@FAMILIES
def test_objects_are_distinct_and_as_many_as_asked(kind):
    level = kind(room_size=7, num_objects=6, colors=("red", "blue"))
    for seed in range(20):
        quiet_reset(level, seed)
        found = [(thing.color, thing.type) for thing in things(level)]
        assert len(found) == len(set(found)) == 6
        assert {color for color, _ in found} == {"red", "blue"}


def test_every_colour_and_kind_is_asked_for():
    level = Lift()
    missions = set()
    for seed in range(300):
        quiet_reset(level, seed)
        missions.add(level.mission)
    assert missions == {f"pick up the {color} {kind}" for color in COLORS for kind in KINDS}


@FAMILIES
def test_a_seed_gives_one_layout_and_another_seed_another(kind):
    def layout(seed):
        level = kind(room_size=8, num_objects=5)
        quiet_reset(level, seed)
        return level.mission, level.agent_pos, level.agent_dir, level.grid.encode().tobytes()

    assert layout(1) == layout(1)
    assert len({layout(seed)[3] for seed in range(10)}) == 10


def test_picking_up_another_object_ends_a_lift_unpaid():
    level = Lift(room_size=6, num_objects=3)
    quiet_reset(level, 0)
    wrong = next(
        thing for thing in things(level) if f"{thing.color} {thing.type}" not in level.mission
    )
    right = level.instrs.desc.obj_set[0]
    for thing, success in ((wrong, False), (right, True)):
        quiet_reset(level, 0)
        thing = level.grid.get(*thing.cur_pos)
        around = np.array(((1, 0), (0, 1), (-1, 0), (0, -1)))
        level.agent_dir, level.agent_pos = next(
            (direction, tuple(thing.cur_pos - step))
            for direction, step in enumerate(around)
            if level.grid.get(*(thing.cur_pos - step)) is None
        )
        _, reward, terminated, _, _ = level.step(Actions.pickup)
        assert terminated
        assert (reward > 0) is success
        assert accomplished(level) is success


@pytest.mark.parametrize("num_objects", [0, 1, 5, 100])
def test_a_room_that_cannot_hold_its_objects_is_refused(num_objects):
    with pytest.raises(ValueError, match=f"num_objects: got {num_objects}, expected 2 to 4"):
        Lift(room_size=5, num_objects=num_objects)


def test_more_objects_than_there_are_distinct_ones_is_refused():
    with pytest.raises(ValueError, match="expected 2 to 2: there are 2 distinct objects"):
        Find(room_size=8, num_objects=3, colors=("red",), kinds=("ball", "key"))


class Drawn(RoomGridLevel):
    """A room and its mission as BabyAI's own methods draw them."""

    def __init__(self, family, num_objects, **kwargs):
        self.family, self.num_objects = family, num_objects
        super().__init__(num_rows=1, num_cols=1, **kwargs)

    def gen_mission(self):
        self.place_agent()
        chosen = self._rand_subset(THINGS, self.num_objects)
        placed = [self.add_object(0, 0, *thing)[0] for thing in chosen]
        self.check_objs_reachable()
        first, second = (ObjDesc(thing.type, thing.color) for thing in placed[:2])
        self.instrs = {
            "find": GoToInstr(first),
            "lift": PickupInstr(first, strict=True),
            "place": PutNextInstr(first, second),
        }[self.family]


@pytest.mark.parametrize("kind", [Find, Lift, Place])
def test_an_episode_is_what_babyai_draws_for_its_seed(kind):
    level = kind(room_size=6, num_objects=5)
    drawn = Drawn(*level.families, room_size=6, num_objects=5)
    quiet_reset(level, 99, goal=FORMS[level.families[0]].format("a red ball", "a red box"))
    for seed in (*range(20), *[None] * 20):
        quiet_reset(level, seed)
        quiet_reset(drawn, seed)
        assert level.mission == drawn.mission
        assert level.max_steps == drawn.max_steps
        assert (tuple(level.agent_pos), level.agent_dir) == (
            tuple(drawn.agent_pos),
            drawn.agent_dir,
        )
        np.testing.assert_array_equal(level.grid.encode(), drawn.grid.encode())


@st.composite
def goals(draw):
    """A goal of any family, with articles of its own."""
    family = draw(st.sampled_from(sorted(FORMS)))
    things = draw(st.lists(st.sampled_from(THINGS), min_size=2, max_size=2, unique=True))
    words = [f"{draw(st.sampled_from(('a', 'the')))} {color} {kind}" for kind, color in things]
    return FORMS[family].format(*words)


@settings(deadline=None, max_examples=60)
@given(goals(), st.integers(0, 2**31), st.sampled_from([(5, 2), (6, 3), (8, 5)]))
def test_an_asked_goal_is_posed_word_for_word_and_can_be_reached(goal, seed, room):
    size, number = room
    mission = Mission.read(goal, list(FORMS), THINGS)
    alone = {"find": Find, "lift": Lift, "place": Place}[mission.family]
    for kind in (alone, Playroom):
        level = kind(room_size=size, num_objects=number)
        quiet_reset(level, seed, goal)
        found = [(thing.type, thing.color) for thing in things(level)]
        assert len(found) == len(set(found)) == number
        assert set(mission.things) <= set(found)
        assert level.mission == level.gen_obs()["mission"] == goal
        assert not accomplished(level)
        bot, terminated = BabyAIBot(level), False
        while not terminated:
            _, reward, terminated, truncated, _ = level.step(bot.replan())
            assert terminated or not truncated
        assert accomplished(level)
        assert reward > 0


def test_what_is_not_asked_for_is_as_random_as_ever():
    level = Lift(room_size=6, num_objects=3)
    others = Counter()
    for seed in range(600):
        quiet_reset(level, seed, "pick up the red ball")
        others.update((thing.type, thing.color) for thing in things(level))
    assert others.pop(("ball", "red")) == 600
    assert len(others) == len(THINGS) - 1
    expected = 600 * 2 / len(others)
    assert all(abs(count - expected) < 4 * np.sqrt(expected) for count in others.values())


@FAMILIES
def test_a_goal_that_cannot_be_posed_is_refused(kind):
    level = kind(colors=("red", "blue"))
    for wrong in ("open the red door", "pick up the grey ball", "go to the grey ball", "a ball"):
        with pytest.raises(GoalError, match="The closest mission of this level is"):
            level.reset(seed=0, options={"goal": wrong})


def test_a_level_poses_goals_of_its_family_alone():
    with pytest.raises(GoalError, match=r"expected one of \['go to the COLOUR KIND'"):
        Find().reset(options={"goal": "pick up the red ball"})
    with pytest.raises(GoalError, match="got another form"):
        Playroom(families=("find", "lift")).reset(
            options={"goal": "put a red ball next to a red box"}
        )


def families_of(level, episodes):
    counts = Counter()
    for seed in range(episodes):
        quiet_reset(level, seed)
        assert not accomplished(level)
        counts[Mission.read(level.mission, list(FORMS), THINGS).family] += 1
    return counts


def test_a_playroom_draws_its_families_evenly_however_many_layouts_are_rejected():
    counts = families_of(Playroom(room_size=5, num_objects=4), 900)
    assert set(counts) == set(FORMS)
    assert all(abs(count - 300) < 4 * np.sqrt(200) for count in counts.values())


def test_a_playroom_draws_from_the_families_it_was_given():
    assert set(families_of(Playroom(families=("place", "find")), 50)) == {"find", "place"}


@pytest.mark.parametrize("families", [(), ("find", "fly"), "find"])
def test_unknown_families_are_refused(families):
    with pytest.raises(ValueError, match=r"expected some of \['find', 'lift', 'place'"):
        Playroom(families=families)


@FAMILIES
def test_what_is_reserved_lies_in_a_room_only_if_its_goal_names_it(kind):
    level = kind(room_size=6, colors=["red", "blue"], num_objects=3, reserved=["red ball"])
    for seed in range(60):
        quiet_reset(level, seed)
        assert ("ball", "red") not in [(it.type, it.color) for it in things(level)]
        assert "red ball" not in level.mission
    goal = {Find: "go to the red ball", Lift: "pick up the red ball"}.get(
        kind, "put the blue key next to the red ball"
    )
    quiet_reset(level, 0, goal)
    assert ("ball", "red") in [(it.type, it.color) for it in things(level)]
    assert level.mission == goal


def test_what_is_reserved_must_be_a_thing_of_the_level():
    with pytest.raises(ValueError, match=r"reserved: got \['pink ball'\], expected some of"):
        Lift(reserved=["pink ball"])
