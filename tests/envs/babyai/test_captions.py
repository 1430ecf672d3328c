"""The statements about a view against a recount from the level's own state."""

import contextlib
import io
import re
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX

from rllib_vlm_reward.envs.babyai import captions as babyai_captions
from rllib_vlm_reward.envs.babyai.captions import TEMPLATES
from rllib_vlm_reward.envs.babyai.ground_truth import accomplished
from rllib_vlm_reward.envs.babyai.level import COLORS, KINDS, Find, Lift, Place
from rllib_vlm_reward.goals import wordings


def captions(view):
    """What is true, in each wording without articles."""
    said = babyai_captions.captions(view).true
    return {
        family: {
            re.sub(r"\b(?:a|the) (?!agent)", "", text) for each in texts for text in wordings(each)
        }
        for family, texts in said.items()
    }


CHANCES = np.array((2, 2, 4, 3, 1)) / 12


def wander(level, steps, seed=0):
    """Yield views at random play, a new layout every 15 steps."""
    rng = np.random.default_rng(seed)
    for step in range(steps):
        if step % 15 == 0:
            with contextlib.redirect_stdout(io.StringIO()):
                level.reset(seed=seed + step)
        yield level.step(rng.choice(5, p=CHANCES))[0]["image"]


def recount(level):
    """Say what holds from the world's grid, in world coordinates."""
    cells = {
        (x, y): thing
        for x in range(level.grid.width)
        for y in range(level.grid.height)
        if (thing := level.grid.get(x, y)) is not None and thing.type in KINDS
    }
    names = {at: f"{thing.color} {thing.type}" for at, thing in cells.items()}
    seen = [at for at in cells if level.in_view(*at)]
    ahead = names.get(tuple(level.front_pos))
    held = level.carrying and f"{level.carrying.color} {level.carrying.type}"
    touching = [pair for pair in combinations(seen, 2) if np.abs(np.subtract(*pair)).sum() == 1]
    both = {
        f"{names[one]} is next to {names[other]}"
        for pair in touching
        for one, other in (pair, pair[::-1])
    }
    return {
        "find": {f"the agent is facing {ahead or 'nothing'}"},
        "lift": {f"the agent is carrying {held or 'nothing'}"},
        "place": both or {"no two objects touch"},
    }


@pytest.mark.parametrize(
    "level",
    [
        Find(room_size=5, num_objects=4),
        Lift(room_size=6, num_objects=6),
        Place(room_size=8, num_objects=10),
    ],
)
def test_captions_are_the_state(level):
    said = {family: set() for family in TEMPLATES}
    for view in wander(level, 1000):
        expected = recount(level)
        assert captions(view) == expected
        for family, statements in expected.items():
            said[family] |= statements
    assert all(len(statements) > 5 for statements in said.values())


@pytest.mark.parametrize(("kind", "family"), [(Find, "find"), (Lift, "lift"), (Place, "place")])
def test_the_missions_success_state_is_said_where_it_is_seen(kind, family):
    level = kind(room_size=6, num_objects=3, max_steps=10_000)
    outcomes = []
    for view in wander(level, 2000):
        statement = TEMPLATES[family].fill(level.mission)
        true = babyai_captions.captions(view).true[family]
        said = statement in {text for each in true for text in wordings(each)}
        seen = family != "place" or all(
            level.in_view(*named.obj_set[0].cur_pos)
            for named in (level.instrs.desc_move, level.instrs.desc_fixed)
        )
        outcomes.append((said, accomplished(level) and seen))
    said, success = np.array(outcomes).T
    assert success.sum() > 3
    np.testing.assert_array_equal(said, success)


OBJECTS = [(OBJECT_TO_IDX[kind], COLOR_TO_IDX[color], 0) for kind in KINDS for color in COLORS]
CELLS = np.array([(0, 0, 0), (1, 0, 0), (2, 5, 0), *OBJECTS], np.uint8)  # unseen, empty, wall


@st.composite
def views(draw):
    """Views that no level would show: anything anywhere, more or less crowded."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    share = draw(st.floats(0, 1))
    chosen = np.where(rng.random((7, 7)) < share, rng.integers(3, len(CELLS), (7, 7)), 1)
    return CELLS[chosen]


@settings(deadline=None, max_examples=50)
@given(views())
def test_every_family_says_something_and_nothing_stands_alone(view):
    for family, said in captions(view).items():
        assert said
        assert TEMPLATES[family].nothing not in said or len(said) == 1
        assert len(said) == 1 or family == "place"


@settings(deadline=None, max_examples=50)
@given(views())
def test_next_to_is_said_in_both_orders(view):
    said = captions(view)["place"] - {TEMPLATES["place"].nothing}
    turned = {" is next to ".join(reversed(text.split(" is next to "))) for text in said}
    assert said == turned
