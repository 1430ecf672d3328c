"""Every road through RLlib: the rewards on the learner's side, recounted from the frames.

By default as few cells as have every pair of values; `pytest --full-matrix` tries them all.
"""

from itertools import combinations, product

import numpy as np
import pytest
import recount
from algorithms import ALGORITHMS, GAMMA, ON_POLICY
from painted import ENV_REWARD, PaintedEnv
from painted_agents import AGENTS, PaintedAgents
from painted_worlds import PaintedBox
from pairwise import pairwise
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from replayed import Draws, expected_draws, stored

from rllib_vlm_reward.plugin import add_vlm_reward

MODES = ("synchronous", "deferred")
VECTORISATIONS = ("sync", "async", "vector_entry_point")
NUMBERS = ("one", "several")  # agents
# Env runners in this process or in two others; whole episodes; agents that take turns.
WAYS = {
    "plain": {},
    "remote": {"num_env_runners": 2},
    "whole": {"batch_mode": "complete_episodes"},
    "turns": {"turns": True},
}


def left_out(cell):
    """Return why RLlib or the painted world has no such cell; None where there is one."""
    algorithm, _, vectorisation, agents, way = cell
    if agents == "several" and vectorisation != "sync":
        return "RLlib 2.60 makes multi-agent vector envs in `sync` mode only"
    if agents == "one" and way == "turns":
        return "there is nobody to take turns with"
    if way == "whole" and algorithm not in ON_POLICY:
        return "a replay buffer takes no notice"
    return None


EVERY = list(product(ALGORITHMS, MODES, VECTORISATIONS, NUMBERS, WAYS))
CELLS = [cell for cell in EVERY if left_out(cell) is None]
OTHER_GOALS = ("a black wall", "a white wall")
# Of one env runner: at least two whole episodes of each of its 4 envs, and cuts.
ROWS = {"one": 280, "several": 480}


def pytest_generate_tests(metafunc):
    if "cell" in metafunc.fixturenames:
        full = metafunc.config.getoption("full_matrix")
        metafunc.parametrize("cell", CELLS if full else pairwise(CELLS), ids="-".join)


def test_every_pair_of_values_is_tried():
    """Counted here anew: a value beside another, wherever the full matrix has both."""
    chosen = pairwise(CELLS)
    assert len(chosen) < len(CELLS) / 4
    factors = (ALGORITHMS, MODES, VECTORISATIONS, NUMBERS, WAYS)
    met = 0
    for (i, first), (j, second) in combinations(enumerate(factors), 2):
        for one, other in product(first, second):
            beside = [cell for cell in CELLS if (cell[i], cell[j]) == (one, other)]
            met += bool(beside)
            assert not beside or set(beside) & set(chosen), f"{one} beside {other}"
    # 7 x 2, 7 x 3, 7 x 2, 7 x 4, 2 x 3, 2 x 2, 2 x 4, 3 x 2, 3 x 4, 2 x 4, less what is left out:
    # whole episodes of four algorithms, several agents and turns in two vectorisations, one in turn
    assert met == 121 - 4 - 2 - 2 - 1


@pytest.mark.parametrize("vectorisation", VECTORISATIONS[1:])
def test_what_is_left_out_rllib_refuses(vectorisation):
    config = small(("PPO", "deferred", vectorisation, "several", "plain"))
    with pytest.raises(ValueError, match="only synchronous environment vectorization"):
        MultiAgentEnvRunner(config=config)


@pytest.fixture(scope="module")
def settings(vlm_config, shared_pool):
    """Returns a function: the reward of one agent or of several."""

    def make(agents, mode):
        if agents == "one":
            return vlm_config(mode=mode, serving={"pool_name": shared_pool})
        return vlm_config(
            mode=mode,
            agents={"a1": {"goals": OTHER_GOALS}, "a2": None},
            serving={"pool_name": shared_pool},
            frames={"source": "info:rgb"},
        )

    return make


@pytest.fixture(scope="module")
def price(settings):
    """Returns a function: what each step of chunks should pay."""
    base, own = (
        recount.score_table(settings("several", "deferred").for_agent(a)) for a in AGENTS[:2]
    )
    tables = (base, own, np.full_like(base, ENV_REWARD))

    def prices(chunks):
        for chunk in chunks:
            agent = int(chunk.extra[0, 0]) if chunk.extra.shape[1] else 0
            yield tables[agent][chunk.columns[4, 1:], chunk.columns[3, 1:]]

    return lambda chunks: list(prices(chunks))


def test_every_reward_is_the_frames_own(cell, settings, price):
    _, mode, _, agents, way = cell
    config = small(cell)
    algorithm = add_vlm_reward(config, settings(agents, mode)).build_algo()
    buffer = getattr(algorithm, "local_replay_buffer", None)
    try:
        rows = ROWS[agents] * max(1, config.num_env_runners)
        seen = train(algorithm, lambda: stored(buffer) if buffer else recount.Witness.chunks, rows)
    finally:
        algorithm.stop()
    assert_equal([chunk.rewards for chunk in seen], price(seen))
    assert recount.jumps(seen) == 0
    assert recount.wrong_starts(seen) == 0
    if buffer:
        assert_drawn(seen, price(seen), config.n_step)
    else:
        assert recount.wrong_lookbacks(seen) == 0
    assert has_ends(seen)
    assert recount.ends(seen)["cut"] > 2 or buffer or way == "whole"


def small(cell):
    """Return a cell's configuration, without a reward yet."""
    name, _, vectorisation, agents, way = cell
    recount.Witness.chunks.clear()
    Draws.drawn.clear()
    given = {
        "num_env_runners": 0,
        "num_envs_per_env_runner": 4,
        "rollout_fragment_length": 17,
        "gym_env_vectorize_mode": vectorisation,
        **WAYS[way],
    }
    turns = given.pop("turns", False)
    config = (
        ALGORITHMS[name](agents)
        .env_runners(**given)
        .rl_module(model_config={"fcnet_hiddens": [8]})
        .reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=50)
    )
    box = name == "SAC, continuous"
    if agents == "several":
        goals = {"a1": OTHER_GOALS}
        config.environment(
            PaintedAgents, env_config={"turns": turns, "continuous": box, "goals": goals}
        )
        return config.multi_agent(policies={"even", "odd"}, policy_mapping_fn=policy_of)
    if vectorisation == "vector_entry_point":
        return config.environment(f"painted_worlds:{'PaintedBox' if box else 'Painted'}-v0")
    return config.environment(PaintedBox if box else PaintedEnv)


def policy_of(agent, episode, **kwargs):
    return "odd" if agent == "a1" else "even"


def train(algorithm, seen, rows):
    """Train until so many rows were seen; return them, a chunk each.

    They end in each way more than twice, unless four times the rows do not suffice: an asynchronous
    algorithm may have trained on one env's rows more often than on another's.
    """
    chunks, number = [], 0
    while number < rows or (number < 4 * rows and not has_ends(chunks)):
        algorithm.train()
        chunks = list(seen())
        number = sum(len(chunk.rewards) for chunk in chunks)
    return chunks


def has_ends(chunks):
    ends = recount.ends(chunks)
    return ends["terminated"] > 2 and ends["truncated"] > 2


def assert_drawn(chunks, rewards, n_step):
    drawn = Draws.drawn
    assert len(drawn) >= 32
    assert {draw.n for draw in drawn} <= set(range(1, n_step + 1))
    assert sum(draw.n == n_step for draw in drawn) > len(drawn) / 2
    expected = expected_draws(drawn, chunks, rewards, GAMMA)
    assert_equal([[draw.reward] for draw in drawn], [[reward] for reward in expected])


def assert_equal(got, expected):
    assert recount.mismatches(got, expected) == 0
    # The recount would notice: rewards one step late, or another chunk's, do not pass.
    late = np.roll(np.concatenate(got), 1)
    assert recount.mismatches([late], expected) > len(late) / 3
