"""The shortest plan against a search through the env's own steps."""

import math

import pytest

from rllib_vlm_reward.envs.android.actions import Actions
from rllib_vlm_reward.envs.android.env import Android

APPS = ["clock", "maps", "music", "photos", "camera"]


def states_from_reset(env):
    """Return every state that steps reach, with the states that one step leads to."""
    phone = env.phone
    start = (phone.page, phone.app, phone.scroll)
    graph, waiting = {}, [start]
    while waiting:
        state = waiting.pop()
        if state in graph:
            continue
        graph[state] = []
        for action in range(env.action_space.n):
            phone.page, phone.app, phone.scroll = state
            env.step(action)
            graph[state].append((phone.page, phone.app, phone.scroll))
        waiting += graph[state]
    return graph


@pytest.mark.parametrize(("pages", "taps", "seed"), [(4, (8, 4), 0), (2, (12, 7), 1)])
def test_steps_to_go_are_those_of_a_search(pages, taps, seed):
    env = Android(APPS, num_pages=pages, taps=taps, end_on_success=False, max_steps=10**9)
    env.reset(seed=seed, options={"goal": "open the music app"})
    graph = states_from_reset(env)
    assert len(graph) == pages + 3 * len(APPS)
    cost = {state: 0 for state in graph if state[1] and state[1].name == "music"}
    for _ in range(10):
        for state, after in graph.items():
            cheapest = min(cost.get(it, math.inf) for it in after) + 1
            cost[state] = min(cost.get(state, math.inf), cheapest)
    for state, after in graph.items():
        env.phone.page, env.phone.app, env.phone.scroll = state
        assert env.steps_to_go() == cost[state]
        assert cost[after[env.expert_action()]] == max(0, cost[state] - 1)
    env.close()


def test_home_is_a_short_cut_to_the_first_page():
    env = Android(APPS, num_pages=5)
    env.reset(seed=0)
    page = next(p for p, icons in enumerate(env.phone.launcher.pages) if env._app in icons)
    env.phone.page = 4
    assert env.steps_to_go() == min(4 - page, 1 + page) + 1
    env.close()


def test_an_icon_that_no_tap_hits_has_no_plan():
    env = Android(APPS, taps=(1, 1))
    env.reset(seed=0)
    assert env.steps_to_go() == math.inf
    assert len({env.expert_action() for _ in range(50)}) > 3, "it acts at random"
    env.close()


def test_actions_have_names():
    actions = Actions((3, 2))
    assert len(actions) == 6 + 4 + 1
    assert actions.names[actions.swipe("down")] == "swipe down"
    assert actions.names[actions.home] == "home"
    assert actions.touches(actions.home) == ()
    ends = {name: actions.touches(actions.swipe(name)) for name in ("left", "right", "up", "down")}
    for name, axis, sign in (("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)):
        first, *_, lift = (touch["touch_position"] for touch in ends[name])
        assert sign * (lift - first)[axis] > 0.4
        assert (lift - first)[1 - axis] == 0
