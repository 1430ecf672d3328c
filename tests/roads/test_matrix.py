"""Every road through RLlib: the rewards on the learner's side, recounted from the frames."""

from itertools import product

import numpy as np
import pytest
import recount
from algorithms import ALGORITHMS, GAMMA
from painted import ENV_REWARD, PaintedEnv
from painted_agents import AGENTS, PaintedAgents
from painted_worlds import PaintedBox
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from replayed import Draws, expected_draws, stored

from rllib_vlm_reward.plugin import add_vlm_reward

MODES = ("synchronous", "deferred")
VECTORISATIONS = ("sync", "async", "vector_entry_point")
NUMBERS = ("one", "several")  # agents

# algorithm, mode, vectorisation, agents
CELLS = [
    *product(ALGORITHMS, MODES, VECTORISATIONS, ["one"]),
    *product(ALGORITHMS, MODES, ["sync"], ["several"]),
]
REFUSED = "RLlib 2.60 makes multi-agent vector envs in `sync` mode only and refuses the others"
LEFT_OUT = dict.fromkeys(product(ALGORITHMS, MODES, VECTORISATIONS[1:], ["several"]), REFUSED)

# Beyond the four: env runners in processes of their own, whole episodes, agents that take turns.
REMOTE, WHOLE, TURNS = {"num_env_runners": 2}, {"batch_mode": "complete_episodes"}, {"turns": True}
FURTHER = [
    (("PPO", "synchronous", "sync", "several"), REMOTE),
    (("APPO", "deferred", "sync", "one"), REMOTE),
    (("IMPALA", "synchronous", "sync", "several"), REMOTE),
    (("DQN", "deferred", "sync", "several"), REMOTE),
    (("DQN, 3 steps, prioritised", "synchronous", "async", "one"), REMOTE),
    (("SAC, prioritised", "deferred", "sync", "several"), REMOTE),
    (("SAC, continuous", "deferred", "vector_entry_point", "one"), REMOTE),
    (("PPO", "deferred", "async", "one"), WHOLE),
    (("PPO", "synchronous", "sync", "several"), WHOLE),
    (("APPO", "synchronous", "vector_entry_point", "one"), WHOLE),
    (("APPO", "deferred", "sync", "several"), WHOLE),
    (("IMPALA", "deferred", "sync", "one"), WHOLE),
    (("IMPALA", "synchronous", "sync", "several"), WHOLE),
    (("PPO", "synchronous", "sync", "several"), TURNS),
    (("PPO", "deferred", "sync", "several"), TURNS),
    (("APPO", "deferred", "sync", "several"), TURNS),
    (("IMPALA", "synchronous", "sync", "several"), TURNS),
    (("DQN", "synchronous", "sync", "several"), TURNS),
    (("DQN, 3 steps, prioritised", "deferred", "sync", "several"), TURNS),
    (("SAC, prioritised", "synchronous", "sync", "several"), TURNS),
    (("SAC, continuous", "deferred", "sync", "several"), TURNS),
]
OTHER_GOALS = ("a black wall", "a white wall")
# Of one env runner: at least two whole episodes of each of its 4 envs, and cuts.
ROWS = {"one": 280, "several": 480}


def test_no_cell_is_forgotten():
    every = set(product(ALGORITHMS, MODES, VECTORISATIONS, NUMBERS))
    assert set(CELLS) | set(LEFT_OUT) == every
    assert not set(CELLS) & set(LEFT_OUT)


@pytest.mark.parametrize("vectorisation", VECTORISATIONS[1:])
def test_what_is_left_out_rllib_refuses(vectorisation):
    config = small(("PPO", "deferred", vectorisation, "several"))
    with pytest.raises(ValueError, match="only synchronous environment vectorization"):
        MultiAgentEnvRunner(config=config)


@pytest.fixture(scope="module")
def settings(vlm_config, shared_pool):
    """Returns a function: the reward of one agent or of several."""

    def make(agents, mode):
        if agents == "one":
            return vlm_config(pool_name=shared_pool, mode=mode)
        return vlm_config(
            pool_name=shared_pool,
            mode=mode,
            frame_source="info:rgb",
            agents={"a1": {"goals": OTHER_GOALS}, "a2": None},
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


def name(part):
    if isinstance(part, dict):
        return ",".join(f"{key}={value}" for key, value in part.items()) or "plain"
    return "-".join(part)


@pytest.mark.parametrize(("cell", "further"), [(cell, {}) for cell in CELLS] + FURTHER, ids=name)
def test_every_reward_is_the_frames_own(cell, further, settings, price):
    _, mode, _, agents = cell
    config = small(cell, **further)
    algorithm = add_vlm_reward(config, settings(agents, mode)).build_algo()
    buffer = getattr(algorithm, "local_replay_buffer", None)
    try:
        rows = ROWS[agents] * further.get("num_env_runners", 1)
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
    ends = recount.ends(seen)
    assert ends["terminated"] > 2
    assert ends["truncated"] > 2
    assert ends["cut"] > 2 or buffer or "batch_mode" in further


def small(cell, turns=False, **env_runners):
    """Return a cell's configuration, without a reward yet."""
    name, _, vectorisation, agents = cell
    recount.Witness.chunks.clear()
    Draws.drawn.clear()
    given = {
        "num_env_runners": 0,
        "num_envs_per_env_runner": 4,
        "rollout_fragment_length": 17,
        "gym_env_vectorize_mode": vectorisation,
    }
    config = (
        ALGORITHMS[name](agents)
        .env_runners(**{**given, **env_runners})
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
    """Train until so many rows were seen; return them, a chunk each."""
    chunks = []
    while sum(len(chunk.rewards) for chunk in chunks) < rows:
        algorithm.train()
        chunks = list(seen())
    return chunks


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
