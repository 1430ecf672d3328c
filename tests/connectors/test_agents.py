"""Several agents: each is paid for the frame that follows its own action."""

from collections import defaultdict

import gymnasium as gym
import numpy as np
import pytest
from painted import BANK, BANK_SIZE, ENV_REWARD
from painted_agents import AGENTS, PaintedAgents
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import EnvToModulePipeline
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.examples.rl_modules.classes.random_rlm import RandomRLModule
from red_pool import blue_number, hint_scores, red_score

from rllib_vlm_reward.connectors.pipeline import attach_pieces, reward_piece
from rllib_vlm_reward.connectors.preflight import preflight
from rllib_vlm_reward.errors import FrameError, GoalError, RewardError
from rllib_vlm_reward.plugin import add_vlm_reward

BOTH = pytest.mark.parametrize("mode", ["synchronous", "deferred"])
OTHER_GOALS = ("a black wall", "a white wall")


class OneScene(PaintedAgents):
    """All agents are shown one frame, which the env renders too."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    render_mode = "rgb_array"

    def render(self):
        return BANK[self.scene]

    def _show(self, agents):
        self.scene = int(self.rng.integers(BANK_SIZE))
        observations, infos = super()._show(agents)
        for agent in agents:
            observations[agent][4] = self.scene
            del infos[agent]["rgb"]
        return observations, infos


def runner_of(
    vlm, red_pool, env=PaintedAgents, batch_mode="truncate_episodes", module=None, **env_config
):
    config = (
        PPOConfig()
        .environment(env, env_config={"goals": {"a1": OTHER_GOALS}, **env_config})
        .env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=3,
            rollout_fragment_length=7,
            batch_mode=batch_mode,
        )
        .multi_agent(policies={"p"}, policy_mapping_fn=lambda agent, episode, **kwargs: "p")
        .rl_module(model_config={"fcnet_hiddens": [8], "conv_filters": [[4, 16, 16]]})
    )
    if module is not None:
        spec = RLModuleSpec(module_class=module)
        config.rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs={"p": spec}))
    runner = MultiAgentEnvRunner(config=add_vlm_reward(config, vlm))
    attach_pieces(runner, "red", "this run", precisions={})
    return runner


def agents_of(vlm_config, **changes):
    vlm = vlm_config(agents={"a1": {"goals": OTHER_GOALS}}, frames={"source": "info:rgb"})
    return vlm.model_copy(update=changes)


def chunks_of(runner, samples):
    """Yield each agent's chunks of some fragments, in order."""
    for _ in range(samples):
        for episode in runner.sample(random_actions=True):
            yield from episode.agent_episodes.values()


@BOTH
@pytest.mark.parametrize("batch_mode", ["truncate_episodes", "complete_episodes"])
@pytest.mark.parametrize("env_config", [{}, {"turns": True}, {"silent": True}], ids=str)
def test_every_agents_step_pays_its_own_next_frame(
    env_config, batch_mode, mode, vlm_config, red_pool
):
    runner = runner_of(
        agents_of(vlm_config, mode=mode), red_pool, batch_mode=batch_mode, **env_config
    )
    returns, ended = defaultdict(float), 0
    for chunk in chunks_of(runner, 12 if batch_mode == "truncate_episodes" else 2):
        # An agent that ends without an observation is given the one before again.
        _, _, _, _, frames, goals = np.array(chunk.get_observations()).astype(int)[1:].T
        assert np.allclose(chunk.get_rewards(), red_score(BANK[frames], goals))
        assert [info["env_reward"] for info in chunk.get_infos()[1:]] == [ENV_REWARD] * len(chunk)
        assert not any("rgb" in info for info in chunk.get_infos())
        returns[chunk.id_] += sum(chunk.get_rewards())
        if chunk.is_done:
            ended += 1
            assert chunk.custom_data["vlm_return"] == pytest.approx(returns[chunk.id_], rel=1e-5)
            if batch_mode == "complete_episodes" or chunk.t_started == 0:
                assert chunk.custom_data["env_return"] == ENV_REWARD * chunk.t
    assert ended > 5


@BOTH
@pytest.mark.parametrize("env_config", [{}, {"turns": True}, {"silent": True}], ids=str)
def test_every_agent_has_its_own_potential(env_config, mode, vlm_config, red_pool):
    bonus = {"kind": "focal", "weight": 2.0, "potential": True}
    vlm = agents_of(vlm_config, mode=mode, bonus=bonus, templates=[{"noun": "{}"}])
    chunks, terminated = list(chunks_of(runner_of(vlm, red_pool, **env_config), 12)), 0
    for chunk in chunks:
        _, _, _, _, frames, goals = np.array(chunk.get_observations()).astype(int).T
        potentials = 2.0 * blue_number(BANK[frames])
        if chunk.is_terminated:
            terminated += 1
            potentials[-1] = 0.0
        expected = red_score(BANK[frames], goals)[1:] + 0.99 * potentials[1:] - potentials[:-1]
        assert np.allclose(chunk.get_rewards(), expected, atol=1e-5)
    assert terminated > 5
    assert any(chunk.t_started for chunk in chunks)


@BOTH
@pytest.mark.parametrize("env_config", [{}, {"turns": True}, {"silent": True}], ids=str)
def test_every_agent_has_its_own_hints(env_config, mode, vlm_config, red_pool):
    def of_pattern(pattern, weight):
        given = {"goals": {pattern: ["some {0}"]}, "weight": weight}
        return {**given, "threshold": 0.8, "decay": "none"}  # since its order is not seen here

    others = of_pattern("a {} wall", 3.0)
    agents = {"a1": {"goals": OTHER_GOALS, "hints": others}, "a2": {"hints": None}}
    hints = of_pattern("a {} wall", 2.0)
    vlm = agents_of(vlm_config, mode=mode, hints=hints, agents=agents)
    runner = runner_of(vlm, red_pool, **env_config)
    settled, paid = {}, set()
    for chunk in chunks_of(runner, 12):
        agent, env, episode, _, frames, goals = np.array(chunk.get_observations()).astype(int).T
        (name,) = {f"a{number}" for number in agent}
        shown = hint_scores(BANK[frames], goals, 1)[:, 0] > 0.8
        expected = red_score(BANK[frames], goals)[1:]
        key = name, env[0], episode[0]
        settled.setdefault(key, bool(shown[0]))
        for step in np.flatnonzero(shown[1:]).tolist():
            if name != "a2" and not settled[key]:
                settled[key] = True
                expected[step] += {"a0": 2.0, "a1": 3.0}[name]
                paid.add(name)
        assert np.allclose(chunk.get_rewards(), expected, atol=1e-5)
    assert paid == {"a0", "a1"}


@BOTH
@pytest.mark.parametrize("env_config", [{}, {"turns": True}, {"silent": True}], ids=str)
def test_every_agent_is_paid_by_all_experts(env_config, mode, vlm_config, red_pool):
    experts = {"plain": {}, "dark": {"frames": {"source": "painted_experts.darker_infos"}}}
    vlm = agents_of(vlm_config, mode=mode, experts=experts)
    steps = 0
    for chunk in chunks_of(runner_of(vlm, red_pool, **env_config), 12):
        _, _, _, _, frames, goals = np.array(chunk.get_observations()).astype(int)[1:].T
        plain, dark = (red_score(each, goals) for each in (BANK[frames], BANK[frames] // 2))
        assert np.allclose(chunk.get_rewards(), (plain + dark) / 2)
        said = [info["expert_scores"] for info in chunk.get_infos()[1:]]
        assert np.allclose([row["plain"] for row in said], plain)
        assert np.allclose([row["dark"] for row in said], dark)
        assert not any("rgb" in info for info in chunk.get_infos())
        steps += len(chunk)
    assert steps > 100


@BOTH
@pytest.mark.parametrize("env_config", [{}, {"turns": True}, {"silent": True}], ids=str)
def test_one_frame_of_the_whole_env_may_serve_all(env_config, mode, vlm_config, red_pool):
    vlm = agents_of(vlm_config, mode=mode, frames={"source": "render"})
    for chunk in chunks_of(runner_of(vlm, red_pool, OneScene, **env_config), 12):
        _, _, _, t, frames, goals = np.array(chunk.get_observations()).astype(int).T
        shown = np.diff(t) > 0  # not where an agent ended without an observation
        expected = red_score(BANK[frames[1:]], goals[1:])
        assert np.allclose(np.array(chunk.get_rewards())[shown], expected[shown])


class Picture(PaintedAgents):
    """Agents observe their frame, as a wall in one of 512 colours."""

    def _show(self, agents):
        observations, infos = super()._show(agents)
        for agent in agents:
            infos[agent]["row"] = observations[agent]
            observations[agent] = infos[agent].pop("rgb")
        return observations, infos

    def __init__(self, config):
        super().__init__(config)
        wall = gym.spaces.Box(0, 255, BANK[0].shape, np.uint8)
        self.observation_spaces = dict.fromkeys(AGENTS, wall)


class RandomModule(RandomRLModule):
    """A policy for any observation."""

    framework = "torch"


@BOTH
def test_frames_may_be_observed(mode, vlm_config, red_pool):
    vlm = agents_of(vlm_config, mode=mode, frames={"source": "obs"})
    runner = runner_of(vlm, red_pool, Picture, module=RandomModule, silent=True)
    for chunk in chunks_of(runner, 12):
        frames = np.array(chunk.get_observations())[1:]
        goals = np.array([info["row"][5] for info in chunk.get_infos()[1:]], int)
        assert np.allclose(chunk.get_rewards(), red_score(frames, goals))


def test_an_agent_may_keep_the_envs_reward(vlm_config, red_pool):
    vlm = agents_of(vlm_config, agents={"a1": None})
    rewards = defaultdict(list)
    for chunk in chunks_of(runner_of(vlm, red_pool), 4):
        rewards[chunk.agent_id] += list(chunk.get_rewards())
    assert set(rewards["a1"]) == {ENV_REWARD}
    assert min(rewards["a0"] + rewards["a2"]) >= 0


def test_metrics_are_there_for_all_and_for_each(vlm_config, red_pool):
    runner = runner_of(agents_of(vlm_config, threshold=0.9), red_pool)
    for _ in range(15):
        runner.sample()
    logged = runner.get_metrics()["vlm_reward"]
    assert set(logged["agents"]) == set(AGENTS)
    each = [its["fires_per_episode"].peek() for its in logged["agents"].values()]
    assert min(each) <= logged["fires_per_episode"].peek() <= max(each)


@BOTH
def test_nothing_is_kept_of_agents_that_are_gone(mode, vlm_config, red_pool):
    runner = runner_of(agents_of(vlm_config, mode=mode), red_pool, turns=True)
    for _ in range(30):
        runner.sample()
    streams = reward_piece(runner)._streams.values()
    assert sum(len(stream._custom_data) for stream in streams) <= 3 * len(AGENTS)
    assert sum(len(stream._ledger) for stream in streams) == 0


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"frames": {"source": "info:picture"}}, FrameError, "picture"),
        ({"frames": {"source": "render"}}, FrameError, "render_mode"),
        ({"agents": {"a1": {"goals": ["a pink wall", "a grey wall"]}}}, GoalError, "unknown goal"),
        ({"agents": {"A1": None}}, RewardError, "agents: got ['A1'], expected agents of the env"),
    ],
)
def test_what_is_missing_is_told_before_training(changes, error, says, vlm_config, red_pool):
    vlm = agents_of(vlm_config, **changes)
    found = preflight(runner_of(vlm, red_pool), vlm)
    assert isinstance(found, error)
    assert says in str(found)


def test_a_warning_names_the_agent_whose_single_goal_hides_the_envs(vlm_config, red_pool):
    single = {"goals": ["a white wall"], "negatives": ["a red wall"]}
    vlm = agents_of(vlm_config, agents={"a1": single})
    runner = runner_of(vlm, red_pool, goals={"a1": ["a black wall"]})
    warning = preflight(runner, vlm)
    for part in ("agent 'a1'", "asks for 'a black wall'", "the single goal 'a white wall'"):
        assert part in warning
    assert preflight(runner, vlm, evaluates=True) is None
    assert preflight(runner, agents_of(vlm_config, agents={"a1": None})) is None
    assert preflight(runner_of(vlm, red_pool, goals={"a1": single["goals"]}), vlm) is None


def test_agents_share_what_is_rendered(vlm_config, red_pool):
    class Counted(OneScene):
        rendered = 0

        def render(self):
            type(self).rendered += 1
            return super().render()

    vlm = agents_of(vlm_config, mode="synchronous", frames={"source": "render"})
    runner = runner_of(vlm, red_pool, Counted)
    Counted.rendered = 0
    steps = sum(episode.env_steps() for _ in range(6) for episode in runner.sample())
    assert Counted.rendered < 1.5 * steps  # and not 2, though there are two rewards


def test_no_frame_stays_in_the_infos_of_an_agent_that_keeps_its_reward(vlm_config, red_pool):
    runner = runner_of(agents_of(vlm_config, agents={"a1": None}), red_pool)
    for chunk in chunks_of(runner, 4):
        assert not any("rgb" in info for info in chunk.get_infos())


def test_a_restored_pipeline_shows_the_agents_observations_and_pays_nothing(
    vlm_config, red_pool, tmp_path
):
    runner = runner_of(agents_of(vlm_config), red_pool)
    trained = runner._env_to_module
    trained.save_to_path(tmp_path / "pipeline", state=trained.get_state())
    restored = EnvToModulePipeline.from_checkpoint(tmp_path / "pipeline")
    env = PaintedAgents({"goals": {"a1": OTHER_GOALS}})
    episode = MultiAgentEpisode(
        observation_space=env.observation_spaces,
        action_space=env.action_spaces,
        agent_to_module_mapping_fn=runner.config.policy_mapping_fn,
    )
    observations, infos = env.reset()
    episode.add_env_reset(observations=observations, infos=infos)
    given = {"episodes": [episode], "rl_module": runner.module, "explore": False}
    for _ in range(2):
        seen = restored(shared_data={}, **given)["p"]["obs"].numpy()
        seen = seen[seen[:, 0].argsort()]  # the first number is the agent's
        np.testing.assert_array_equal(seen, [*observations.values()])
        actions = dict.fromkeys(observations, 0)
        observations, rewards, ended, cut, infos = env.step(actions)
        episode.add_env_step(
            observations, actions, rewards, infos, terminateds=ended, truncateds=cut
        )
    assert {reward for agent in episode.agent_episodes.values() for reward in agent.rewards} == {
        ENV_REWARD
    }
    assert not red_pool.batches
