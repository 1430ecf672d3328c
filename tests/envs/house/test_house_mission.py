"""Goals: which texts are one, and what an error says of the others."""

import pytest

from rllib_vlm_reward.envs.house.captions import TEMPLATES
from rllib_vlm_reward.envs.house.mission import FORMS, Mission
from rllib_vlm_reward.envs.house.things import KINDS
from rllib_vlm_reward.errors import GoalError

NAMES = tuple(KINDS)


@pytest.mark.parametrize(
    ("text", "family", "things"),
    [
        ("go near the blue barrel", "find", ("blue barrel",)),
        ("pick up a red ball", "lift", ("red ball",)),
        ("put the duckie next to the potion", "place", ("duckie", "potion")),
        ("put a red box next to the red key", "place", ("red box", "red key")),
    ],
)
def test_a_goal_is_read(text, family, things):
    assert Mission.read(text, tuple(FORMS), NAMES) == Mission(text, family, things)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("go near the pink barrel", "got the thing 'pink barrel'"),
        ("fetch the duckie", "got another form"),
        ("put the duckie next to a duckie", "got the same thing twice"),
        ("pick up duckie", "got another form"),
        ("", "got another form"),
    ],
)
def test_another_text_is_one_clear_error(text, fault):
    with pytest.raises(GoalError, match=fault) as caught:
        Mission.read(text, tuple(FORMS), NAMES)
    assert "\n" not in str(caught.value)
    closest = str(caught.value).rpartition("The closest goal of this house is ")[2].strip("'.")
    assert Mission.read(closest, tuple(FORMS), NAMES)


def test_a_goal_of_another_family_is_an_error():
    with pytest.raises(GoalError, match=r"expected one of \['pick up the THING'\]"):
        Mission.read("go near the duckie", ("lift",), NAMES)


@pytest.mark.parametrize("family", FORMS)
def test_every_goal_has_a_prompt(family):
    mission = Mission.of(family, NAMES[: FORMS[family].count("{}")])
    assert Mission.read(mission.text, (family,), NAMES) == mission
    prompt = TEMPLATES[family].fill(mission.text)
    assert all(name in prompt for name in mission.things)
