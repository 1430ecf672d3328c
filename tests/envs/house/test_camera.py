"""What the camera sees by the state: within the picture, and not hidden."""

import math

import pytest

from rllib_vlm_reward.envs.house.camera import visible_share
from rllib_vlm_reward.envs.house.ground_truth import is_near, is_next_to


def test_a_thing_ahead_is_seen_and_one_behind_is_not(hall):
    scene = hall(duckie=(1.0, 0.0), cone=(-1.0, 0.0))
    assert visible_share(scene, 0) == 1
    assert visible_share(scene, 1) == 0


def test_a_thing_at_the_pictures_edge_is_partly_seen(hall):
    scene = hall(red_ball=(0.6, 0.0))
    shares = []
    for degrees in range(0, 100, 4):
        scene.agent = scene.agent._replace(heading=math.radians(degrees))
        shares.append(visible_share(scene, 0))
    assert shares == sorted(shares, reverse=True)
    assert (shares[0], shares[-1]) == (1, 0)
    assert any(0.2 < share < 0.8 for share in shares)


def test_left_and_right_are_alike(hall):
    left, right = hall(red_ball=(0.5, -0.55)), hall(red_ball=(0.5, 0.55))
    assert 0 < visible_share(left, 0) < 1
    assert visible_share(left, 0) == pytest.approx(visible_share(right, 0), abs=0.04)


def test_a_higher_thing_between_hides_a_lower_one(hall):
    scene = hall(grey_key=(1.15, 0.0), blue_barrel=(0.6, 0.0))
    assert visible_share(scene, 0) < 0.6
    assert visible_share(scene, 1) == 1
    assert not is_near(scene, 0)
    scene.places[1] = (4.0, 5.0)
    assert is_near(scene, 0)


def test_a_wall_hides_what_is_behind_it(hall):
    scene = hall(duckie=(1.0, 0.0))
    scene.agent = scene.agent._replace(x=7.4)
    scene.places[0] = (8.3, 4.0)  # outside of the house
    assert visible_share(scene, 0) == 0


def test_what_is_carried_hides_what_is_behind_it(hall):
    scene = hall(potion=(0.28, 0.42), tree=(9.0, 9.0))
    free = visible_share(scene, 0)
    scene.carried = 1
    assert visible_share(scene, 0) < free


@pytest.mark.parametrize(("distance", "near"), [(0.6, True), (1.19, True), (1.21, False)])
def test_near_is_a_distance(hall, distance, near):
    assert is_near(hall(cone=(distance, 0.0)), 0) is near


def test_what_is_carried_is_not_near_and_next_to_nothing(hall):
    scene = hall(cone=(0.8, 0.0), duckie=(0.8, 0.7))
    assert is_near(scene, 0)
    assert is_next_to(scene, 0, 1)
    scene.carried = 0
    assert not is_near(scene, 0)
    assert not is_next_to(scene, 0, 1)


@pytest.mark.parametrize(("gap", "beside"), [(0.01, True), (0.39, True), (0.41, False)])
def test_next_to_is_a_gap(hall, gap, beside):
    apart = 0.26 + 0.3 + gap  # the radii of a cone and a duckie
    scene = hall(cone=(1.0, 0.0), duckie=(1.0, apart))
    assert is_next_to(scene, 0, 1) is beside
    assert is_next_to(scene, 1, 0) is beside
