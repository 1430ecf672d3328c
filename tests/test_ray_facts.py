"""What the package takes from Ray 2.60's RLlib, one fact a test: an upgrade fails here first."""

import ast
import functools
from pathlib import Path

import gymnasium as gym
import msgpack
import msgpack_numpy
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from painted_agents import PaintedAgents
from ray import tune
from ray.rllib.algorithms.dqn.dqn import DQNConfig, calculate_rr_weights
from ray.rllib.algorithms.dqn.dqn_catalog import DQNCatalog
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.ppo_catalog import PPOCatalog
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.env_to_module import EnvToModulePipeline
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv, PettingZooEnv
from ray.rllib.offline import offline_env_runner
from ray.rllib.offline.offline_prelearner import OfflinePreLearner
from ray.rllib.utils.from_config import from_config
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger
from ray.rllib.utils.replay_buffers import ReplayBuffer
from ray.rllib.utils.replay_buffers.episode_replay_buffer import EpisodeReplayBuffer
from ray.rllib.utils.replay_buffers.prioritized_episode_buffer import (
    PrioritizedEpisodeReplayBuffer,
)
from ray.tune.registry import ENV_CREATOR, _global_registry

import rllib_vlm_reward

PACKAGE = Path(rllib_vlm_reward.__file__).parent
# Private names of Ray and RLlib: the files that use them, and the test below that holds the fact.
PRIVATE_NAMES = {
    "_get_head_config": (
        {"policies/replayed.py"},
        "test_a_head_of_dqn_has_as_many_outputs_as_its_configuration_is_asked_for",
    ),
    "_env_to_module": (
        {"connectors/pipeline.py"},
        "test_custom_pieces_come_first",
    ),
    "_ongoing_episodes": (
        {"connectors/pipeline.py"},
        "test_the_runner_goes_on_with_the_successors_of_the_cut_episodes",
    ),
    "_needs_initial_reset": (
        {"connectors/pipeline.py"},
        "test_only_an_initial_reset_is_seeded",
    ),
    "_global_registry": (
        {"connectors/pipeline.py"},
        "test_the_registry_has_what_was_registered_and_nothing_of_gymnasium",
    ),
    "_env_to_module_connector": (
        {"plugin.py", "connectors/preflight.py"},
        "test_a_configuration_keeps_factory_and_module_as_they_were_given",
    ),
    "_rl_module_spec": (
        {"plugin.py", "policies/module_check.py"},
        "test_a_configuration_keeps_factory_and_module_as_they_were_given",
    ),
    "_optimizer_lr_schedules": (
        {"connectors/pipeline.py"},
        "test_a_learner_has_a_schedule_for_each_optimizer",
    ),
    "_set_optimizer_lr": (
        {"connectors/pipeline.py"},
        "test_a_learner_has_a_schedule_for_each_optimizer",
    ),
    "_model_config_dict": (
        {"policies/replayed.py"},
        "test_a_catalog_keeps_the_model_config_and_asks_a_hook_for_its_components",
    ),
    "_determine_components_hook": (
        {"policies/replayed.py"},
        "test_a_catalog_keeps_the_model_config_and_asks_a_hook_for_its_components",
    ),
    "_observation_space": (
        {"offline/episode.py"},
        "test_an_episodes_state_has_its_observation_space",
    ),
}
# Private names of other libraries' classes: minigrid's.
NOT_RAYS = {"_rand_elem", "_rand_subset", "_codebook"}

LENGTHS = (3, 5)


class CountingEnv(gym.Env):
    """Observes (sub-env, t); sub-env i terminates after ``LENGTHS[i]`` steps."""

    observation_space = gym.spaces.Box(-1, 100, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)
    made = 0

    def __init__(self, config):
        self.config = config
        self.id = CountingEnv.made % len(LENGTHS)
        CountingEnv.made += 1

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return np.array([self.id, 0], np.float32), {}

    def step(self, action):
        self.t += 1
        over = self.t == LENGTHS[self.id]
        return np.array([self.id, self.t], np.float32), 1.0, over, False, {}


class Spy(ConnectorV2):
    """Keeps what each call showed: (length, last observation, done) of every episode."""

    def __init__(self, input_observation_space=None, input_action_space=None, *, act=None):
        super().__init__(input_observation_space, input_action_space)
        self.act, self.calls, self.metrics = act, [], []

    def __call__(self, *, batch, episodes, metrics=None, **kwargs):
        self.metrics.append(metrics)
        self.calls.append([(len(e), e.get_observations(-1).tolist(), e.is_done) for e in episodes])
        if self.act:
            self.act(episodes)
        return batch


@pytest.fixture
def runner():
    """Returns a function: an env runner of two counting envs, and the spy first in its pipeline."""

    def make(act=None, callbacks=RLlibCallback, env=CountingEnv, **env_config):
        spy = Spy(act=act)
        config = (
            PPOConfig()
            .environment(env, env_config=env_config)
            .env_runners(
                num_envs_per_env_runner=2,
                rollout_fragment_length=8,
                env_to_module_connector=lambda env, spaces, device: spy,
            )
            .callbacks(callbacks_class=callbacks)
            .rl_module(model_config={"fcnet_hiddens": [2]})
        )
        CountingEnv.made = 0
        return SingleAgentEnvRunner(config=config), spy

    return make


def test_custom_pieces_come_first(runner):
    env_runner, spy = runner()
    assert env_runner._env_to_module.connectors[0] is spy


def test_the_pipeline_runs_once_a_vector_step_and_position_i_is_sub_env_i(runner):
    env_runner, spy = runner()
    env_runner.sample()
    assert all([row[1][0] for row in call] == [0, 1] for call in spy.calls)


def test_a_finished_episode_is_still_there_with_its_terminal_observation(runner):
    env_runner, spy = runner()
    env_runner.sample()
    assert spy.calls[3][0] == (3, [0, 3], True)


def test_a_reset_shows_as_an_episode_of_length_zero(runner):
    env_runner, spy = runner()
    env_runner.sample()
    assert spy.calls[0] == [(0, [0, 0], False), (0, [1, 0], False)]
    assert spy.calls[4][0] == (0, [0, 0], False)  # the autoreset step, one after the end


def test_is_terminated_set_in_the_pipeline_ends_the_episode(runner):
    def end(episodes):
        episodes[1].is_terminated = len(episodes[1]) == 2

    env_runner, _ = runner(act=end)
    lengths = {len(e) for e in env_runner.sample() if e.get_observations(0)[0] == 1 and e.is_done}
    assert lengths == {2}


def test_the_env_learns_nothing_of_that(runner):
    def end(episodes):
        episodes[1].is_terminated = len(episodes[1]) == 2

    env_runner, spy = runner(act=end)
    env_runner.sample()
    assert spy.calls[3][1] == (0, [1, 3], False)  # so its next observation passes for a reset one


def test_on_sample_end_sees_the_very_episodes_that_leave_before_metrics_do(runner):
    class Double(RLlibCallback):
        def on_sample_end(self, *, env_runner, metrics_logger, samples, **kwargs):
            for episode in samples:
                episode.set_rewards(new_data=np.full(len(episode), 2, np.float32))

    env_runner, _ = runner(callbacks=Double)
    assert all((episode.get_rewards() == 2).all() for episode in env_runner.sample())
    returns = env_runner.get_metrics()["episode_return_max"].peek()
    assert returns == 2 * max(LENGTHS)


def test_the_runner_goes_on_with_the_successors_of_the_cut_episodes(runner):
    env_runner, _ = runner()
    chunks = {e.id_: e for e in env_runner.sample() if not e.is_done}
    for episode in env_runner._ongoing_episodes:
        if episode.id_ in chunks:
            assert episode.t_started == chunks[episode.id_].t
    assert chunks


def test_cut_copies_custom_data_and_the_lookback():
    episode = SingleAgentEpisode()
    episode.add_env_reset(observation=0, infos={})
    for t in range(3):
        episode.add_env_step(observation=t, action=0, reward=float(t), infos={})
    episode.custom_data["kept"] = [1]
    successor = episode.cut(len_lookback_buffer=2)
    episode.custom_data["kept"].append(2)
    assert successor.custom_data == {"kept": [1]}
    episode.set_rewards(new_data=9.0, at_indices=-1)
    assert successor.rewards.lookback == 2
    assert successor.get_rewards(-1, neg_index_as_lookback=True) == 2.0
    successor.set_rewards(new_data=9.0, at_indices=-1, neg_index_as_lookback=True)
    assert successor.get_rewards(-1, neg_index_as_lookback=True) == 9.0


def test_episodes_are_hashed_by_identity():
    assert len({SingleAgentEpisode(id_="same"), SingleAgentEpisode(id_="same")}) == 2


def test_set_rewards_takes_no_numpy_index():
    episode = SingleAgentEpisode(observations=[0, 1], actions=[0], rewards=[1.0], infos=[{}, {}])
    with pytest.raises(AssertionError):
        episode.set_rewards(new_data=1.0, at_indices=np.int64(0))


def test_rllib_vectorises_with_next_step_autoreset(runner):
    env_runner, _ = runner()
    assert env_runner.env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP


def test_a_class_gets_env_config_as_its_context(runner):
    env_runner, _ = runner(some="thing")
    context = env_runner.env.unwrapped.envs[0].unwrapped.config
    assert isinstance(context, EnvContext)
    assert context["some"] == "thing"


def test_a_gymnasium_ids_env_config_goes_to_make_vec(runner):
    env_runner, _ = runner(
        env="CartPole-v1", render_mode="rgb_array", wrappers=[gym.wrappers.RecordEpisodeStatistics]
    )
    env = env_runner.env.unwrapped.envs[0]
    assert env.render_mode == "rgb_array"
    assert isinstance(env, gym.wrappers.RecordEpisodeStatistics)


def test_callbacks_may_be_a_list_of_callables_and_keep_their_order(runner):
    order = []

    class Says(RLlibCallback):
        def __init__(self, word):
            self.word = word

        def on_sample_end(self, **kwargs):
            order.append(self.word)

    env_runner, _ = runner(
        callbacks=[functools.partial(Says, "first"), functools.partial(Says, "second")]
    )
    env_runner.sample()
    assert order == ["first", "second"]


def test_on_episode_start_tells_each_episode_once_in_the_order_in_which_they_begin(runner):
    env_runner, _ = runner()
    begun = []

    def begin(*, episode, **kwargs):
        begun.append((episode.id_, int(episode.get_observations(-1)[0])))

    env_runner.config.callbacks_on_episode_start = [begin]
    chunks = [chunk for _ in range(2) for chunk in env_runner.sample()]
    # Lengths of 3 and 5, and an autoreset takes a step: 0 begins anew at 4, 1 at 6, 0 at 8.
    assert [sub_env for _, sub_env in begun[:5]] == [0, 1, 0, 1, 0]
    assert len({id_ for id_, _ in begun}) == len(begun)
    assert {id_ for id_, _ in begun} >= {chunk.id_ for chunk in chunks}


def test_on_environment_created_comes_before_the_pipeline(runner):
    had_pipeline = []

    class Looks(RLlibCallback):
        def on_environment_created(self, *, env_runner, **kwargs):
            had_pipeline.append(hasattr(env_runner, "_env_to_module"))

    env_runner, _ = runner(callbacks=Looks)
    env_runner.make_env()
    assert had_pipeline == [False, True]


def test_a_pieces_constructor_arguments_go_into_the_checkpoint():
    class Piece(Spy):
        def __init__(self, given, input_observation_space=None, input_action_space=None):
            ConnectorV2.__init__(self, input_observation_space, input_action_space)

    assert Piece("this").get_ctor_args_and_kwargs()[1]["given"] == "this"


def test_a_pipeline_is_saved_with_its_state_alone(tmp_path):
    """Ray's mistake, for which docs/using-an-agent.md gives the state."""
    pipeline = EnvToModulePipeline(connectors=[Spy()])
    with pytest.raises(KeyError, match="Spy"):
        pipeline.save_to_path(tmp_path / "without")
    pipeline.save_to_path(tmp_path / "with", state=pipeline.get_state())
    restored = EnvToModulePipeline.from_checkpoint(tmp_path / "with")
    assert [type(piece) for piece in restored.connectors] == [Spy]


def test_an_env_runner_hands_its_pipeline_the_metrics(runner):
    """Whoever uses a restored pipeline has none; so VLMReward can distinguish them."""
    env_runner, spy = runner()
    env_runner.sample()
    assert len(spy.metrics) > 2
    assert None not in spy.metrics


def test_states_are_merged_by_position_among_the_pieces_that_have_one():
    """Ray's mistake, for which our pieces always have a state."""

    class Stateless(Spy):
        def merge_states(self, states):
            return {"merged by": "the wrong piece"}

    class Stateful(Spy):
        def get_state(self, components=None, *, not_components=None, **kwargs):
            return {"n": 1}

    pipeline = EnvToModulePipeline(connectors=[Stateless(), Stateful()])
    merged = pipeline.merge_states([pipeline.get_state()])
    assert merged == {"Stateful": {"merged by": "the wrong piece"}}


def test_an_item_series_arrives_whole_and_once():
    runners, root = [MetricsLogger(), MetricsLogger()], MetricsLogger(root=True)
    for number, runner in enumerate(runners):
        for t in range(2):
            runner.log_value(("a", "b"), (number, t, None), reduce="item_series")
    for _ in range(2):  # several samples may come before the root is reduced
        root.aggregate([runner.reduce() for runner in runners], key="env_runners")
    series = root.reduce(compile=True)["env_runners"]["a"]["b"]
    assert series == [(0, 0, None), (0, 1, None), (1, 0, None), (1, 1, None)]
    assert not root.reduce(compile=True)["env_runners"]["a"]["b"]


def test_stop_calls_cleanup():
    class Trial(tune.Trainable):
        cleaned = False

        def cleanup(self):
            self.cleaned = True

    trial = Trial()
    trial.stop()
    assert trial.cleaned


def test_an_error_in_a_remote_env_runner_costs_a_minute_and_so_may_a_long_sample():
    config = PPOConfig()
    assert config.delay_between_env_runner_restarts_s == 60
    assert config.sample_timeout_s == 60


@pytest.mark.parametrize(
    ("buffer", "n_step", "starts"),
    [
        (PrioritizedEpisodeReplayBuffer, 1, [0, 1, 2, 3, 4]),
        (PrioritizedEpisodeReplayBuffer, 3, [0, 1, 2]),
        (EpisodeReplayBuffer, 1, [0, 1, 2, 3, 4]),
        (EpisodeReplayBuffer, 3, [0, 1, 2, 3, 4]),
    ],
)
def test_only_prioritised_n_step_replay_never_begins_in_the_last_steps(buffer, n_step, starts):
    """So an action that is paid for at once, at the end of an episode, is never learned there."""
    episode = SingleAgentEpisode(
        observations=list(range(6)),
        actions=[0] * 5,
        rewards=[0.0] * 4 + [1.0],
        terminated=True,
        len_lookback_buffer=0,
    )
    episode.to_numpy()
    replay = buffer(capacity=100)
    replay.add([episode])
    drawn = replay.sample(num_items=300, n_step=n_step, gamma=0.5, sample_episodes=True)
    rewards = {int(e.get_observations(0)): float(e.get_rewards(0)) for e in drawn}
    assert sorted(rewards) == starts
    assert rewards[2] == (0.25 if n_step == 3 else 0.0)


@pytest.mark.parametrize(("runners", "updates"), [(0, 24), (1, 48), (3, 96)])
def test_training_intensity_counts_one_env_runner_too_many(runners, updates):
    """512 steps a runner, replayed 12 times in batches of 256, are 24 updates a runner."""
    config = (
        DQNConfig()
        .env_runners(
            num_env_runners=runners, num_envs_per_env_runner=32, rollout_fragment_length=16
        )
        .training(training_intensity=12, train_batch_size_per_learner=256)
    )
    assert calculate_rr_weights(config) == [1, updates]


@pytest.fixture
def recorded(monkeypatch):
    """Returns a function: the ids that a recorder sampled, three times, and those that it wrote."""

    def make(**offline_data):
        written = []

        class Dataset:
            def __init__(self, items):
                self.items = items

            def write_parquet(self, path, **kwargs):
                written.extend(
                    msgpack.unpackb(item, object_hook=msgpack_numpy.decode)["id_"]
                    for item in self.items
                )

        monkeypatch.setattr(offline_env_runner.ray.data, "from_items", Dataset)
        config = (
            PPOConfig()
            .environment(CountingEnv)
            .env_runners(num_envs_per_env_runner=2, batch_mode="complete_episodes")
            .rl_module(model_config={"fcnet_hiddens": [2]})
            .offline_data(output="/nowhere", output_write_episodes=True, **offline_data)
        )
        recorder = offline_env_runner.OfflineSingleAgentEnvRunner(config=config)
        sampled = [e.id_ for _ in range(3) for e in recorder.sample(num_episodes=2)]
        recorder.stop()
        return sampled, written

    return make


def test_a_recorder_writes_again_what_it_wrote(recorded):
    """Ray's mistake, for which docs/offline.md sets output_max_rows_per_file."""
    sampled, written = recorded()
    assert len(written) > len(set(written)) == len(sampled)


def test_a_recorder_loses_all_but_the_last_file_of_a_sample(recorded):
    """Ray's mistake, for which docs/offline.md sets it beyond all that is recorded."""
    sampled, written = recorded(output_max_rows_per_file=1, output_write_remaining_data=True)
    assert len(written) < len(sampled)


def test_a_recorder_writes_each_episode_once_when_it_stops(recorded):
    sampled, written = recorded(output_max_rows_per_file=10**9, output_write_remaining_data=True)
    assert written == sampled


def test_chunks_that_neither_end_nor_are_cut_off_are_not_read():
    chunk = SingleAgentEpisode(observations=[0, 1], actions=[0], rewards=[1.0], infos=[{}, {}])
    with pytest.raises(ValueError, match="must be done"):
        OfflinePreLearner._validate_episodes(None, [chunk])


def test_the_last_reward_and_info_are_the_last_of_the_buffers_lists():
    episode = SingleAgentEpisode()
    episode.add_env_reset(observation=0, infos={"t": 0})
    for t in (1, 2):
        episode.add_env_step(observation=t, action=0, reward=1.0, infos={"t": t})
    assert episode.infos.data[-1] is episode.get_infos(-1)
    assert episode.infos.data[-1] == {"t": 2}
    episode.rewards.data[-1] = 7.0
    assert episode.get_rewards() == [1.0, 7.0]
    assert episode.get_return() == 8.0


@pytest.fixture
def two_agents():
    """An episode of two agents that took a step."""
    episode = MultiAgentEpisode()
    infos = {"a": {}, "b": {}}
    episode.add_env_reset(observations={"a": 0, "b": 0}, infos=infos)
    episode.add_env_step(
        observations={"a": 1, "b": 1},
        actions={"a": 0, "b": 0},
        rewards={"a": 1.0, "b": 1.0},
        infos={"a": {}, "b": {"frame": 1}},
        terminateds={"__all__": False},
        truncateds={"__all__": False},
    )
    return episode


def test_a_cut_drops_the_agents_custom_data_and_keeps_their_ids(two_agents):
    before = two_agents.agent_episodes["a"]
    before.custom_data["goal"] = 3
    after = two_agents.cut().agent_episodes["a"]
    assert after.custom_data == {}
    assert after.id_ == before.id_


def test_an_agent_that_ends_unseen_has_the_observation_and_the_very_info_of_before(two_agents):
    two_agents.add_env_step(
        observations={"a": 2},
        actions={"a": 0, "b": 0},
        rewards={"a": 1.0, "b": 1.0},
        infos={"a": {}},
        terminateds={"b": True, "__all__": False},
        truncateds={"__all__": False},
    )
    ended = two_agents.agent_episodes["b"]
    assert len(ended) == 2
    assert ended.is_done
    assert ended.get_observations() == [0, 1, 1]
    assert ended.infos.data[-1] is ended.infos.data[-2]


@pytest.mark.parametrize(
    ("wrapper", "inner"), [(PettingZooEnv, "env"), (ParallelPettingZooEnv, "par_env")]
)
def test_a_wrapper_of_pettingzoo_hides_the_render_mode_and_renders_with_an_argument(wrapper, inner):
    class Env:
        agents = ("a",)
        render_mode = "rgb_array"

        def reset(self):
            pass

        def observation_space(self, agent):
            return gym.spaces.Discrete(2)

        action_space = observation_space

        def render(self):
            return "a frame"

    env = Env()
    wrapped = wrapper(env)
    assert getattr(wrapped, inner) is env
    assert wrapped.render_mode is None
    with pytest.raises(TypeError, match="positional argument"):
        wrapped.render()


def test_agents_that_ended_come_in_a_call_of_their_own_the_others_by_sub_env():
    calls = []

    class Agents(ConnectorV2):
        def __call__(self, *, batch, episodes, metrics=None, **kwargs):
            calls.append(([e.is_done for e in episodes], [e.id_ for e in episodes]))
            return batch

    config = (
        PPOConfig()
        .environment(PaintedAgents)
        .env_runners(
            num_envs_per_env_runner=3,
            env_to_module_connector=lambda env, spaces, device: Agents(),
        )
        .multi_agent(policies={"p"}, policy_mapping_fn=lambda agent, episode, **kwargs: "p")
        .rl_module(model_config={"fcnet_hiddens": [2]})
    )
    runner = MultiAgentEnvRunner(config=config)
    assert runner.env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP.name.lower()
    for _ in range(3):
        runner.sample(num_timesteps=99, random_actions=True)
    ended = [ids for dones, ids in calls if any(dones)]
    going_on = [ids for dones, ids in calls if not any(dones)]
    assert ended
    assert all(all(dones) for dones, _ in calls if any(dones))
    assert all(len(ids) == 3 for ids in going_on)
    row_of = {}
    for ids in going_on:
        for row, id_ in enumerate(ids):
            assert row_of.setdefault(id_, row) == row
    assert {id_ for ids in ended for id_ in ids} <= set(row_of)


class SeededEnv(CountingEnv):
    """Keeps the seeds of all resets."""

    seeds = []  # noqa: RUF012

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        return super().reset()


def test_only_an_initial_reset_is_seeded(runner):
    env_runner, _ = runner(env=SeededEnv)
    env_runner._seed = 3
    seeded = []
    for initial, forced in ((True, False), (False, True), (True, False)):
        SeededEnv.seeds.clear()
        env_runner._needs_initial_reset = initial
        env_runner.sample(num_timesteps=2, random_actions=True, force_reset=forced)
        seeded.append([seed is not None for seed in SeededEnv.seeds[:2]])
    assert seeded == [[True, True], [False, False], [True, True]]


def test_the_registry_has_what_was_registered_and_nothing_of_gymnasium():
    tune.register_env("counting", CountingEnv)
    assert _global_registry.contains(ENV_CREATOR, "counting")
    assert isinstance(_global_registry.get(ENV_CREATOR, "counting")({}), CountingEnv)
    assert not _global_registry.contains(ENV_CREATOR, "CartPole-v1")


def test_a_configuration_keeps_factory_and_module_as_they_were_given():
    config = PPOConfig()
    assert (config._env_to_module_connector, config._rl_module_spec) == (None, None)

    def factory(env, spaces, device):
        return []

    spec = RLModuleSpec()
    config.env_runners(env_to_module_connector=factory).rl_module(rl_module_spec=spec)
    assert config._env_to_module_connector is factory
    assert config._rl_module_spec is spec


def test_a_learner_has_a_schedule_for_each_optimizer():
    config = PPOConfig().environment("CartPole-v1").training(lr=0.5)
    config.rl_module(model_config={"fcnet_hiddens": [2]})
    learner = config.build_learner(env=gym.make("CartPole-v1"))
    learner.build()
    ((optimizer, schedule),) = learner._optimizer_lr_schedules.items()
    assert (schedule.use_schedule, schedule.get_current_value()) == (False, 0.5)
    learner._set_optimizer_lr(optimizer, 0.25)
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_a_catalog_keeps_the_model_config_and_asks_a_hook_for_its_components():
    asked = []

    class Asks(PPOCatalog):
        def _determine_components_hook(self):
            asked.append(self._model_config_dict["mine"])
            super()._determine_components_hook()

    model = {"fcnet_hiddens": [2], "mine": 7}
    Asks(CountingEnv.observation_space, CountingEnv.action_space, model)
    assert asked == [7]


def test_an_episodes_state_has_its_observation_space():
    space = gym.spaces.Box(0, 1, (2,), np.float32)
    state = SingleAgentEpisode(observation_space=space).get_state()
    assert SingleAgentEpisode.from_state(state).observation_space == space
    assert state["_observation_space"] is not None


def test_dqn_takes_a_replay_buffer_of_ones_own_by_path_and_sac_only_those_of_rllib():
    kind = "rllib_vlm_reward.replay.HindsightEpisodeReplayBuffer"
    buffer = {"type": kind, "capacity": 100, "copies": 2}
    DQNConfig().environment("CartPole-v1").training(replay_buffer_config=buffer).validate()
    assert type(from_config(ReplayBuffer, buffer)).__name__ == "HindsightEpisodeReplayBuffer"
    with pytest.raises(ValueError, match="must be of type `EpisodeReplayBuffer`"):
        SACConfig().environment("Pendulum-v1").training(replay_buffer_config=buffer).validate()


def test_a_head_of_dqn_has_as_many_outputs_as_its_configuration_is_asked_for():
    space, actions = CountingEnv.observation_space, gym.spaces.Discrete(5)
    heads = {"head_fcnet_hiddens": [], "num_atoms": 1}
    catalog = DQNCatalog(space, actions, {"fcnet_hiddens": [2], **heads})
    head = catalog._get_head_config(3).build(framework="torch")
    assert head(torch.zeros(4, *catalog.latent_dims)).shape == (4, 3)


def private_names():
    """Yield each private name that the package uses and does not itself define, and the file."""
    trees = {path: ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}
    defined, used = set(), []
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                defined.add(node.name)
                used.append((node.name, path))
            elif isinstance(node, ast.Attribute):
                used.append((node.attr, path))
                if isinstance(node.ctx, ast.Store):
                    defined |= {node.attr} if ast.unparse(node.value) in ("self", "cls") else set()
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                defined.add(node.id)
            elif isinstance(node, ast.AnnAssign):
                defined.add(ast.unparse(node.target))
            elif isinstance(node, ast.ImportFrom):
                used += [(alias.name, path) for alias in node.names]
            elif isinstance(node, ast.Constant) and node.value in PRIVATE_NAMES:
                used.append((node.value, path))
    public = {"_replace", "_asdict"}  # of a NamedTuple
    for name, path in used:
        known = name in PRIVATE_NAMES or name not in defined | public | NOT_RAYS
        if name.startswith("_") and not name.endswith("__") and known:
            yield name, str(path.relative_to(PACKAGE))


def test_private_names_stand_only_where_the_table_says():
    found = {}
    for name, file in private_names():
        found.setdefault(name, set()).add(file)
    assert found == {name: files for name, (files, _) in PRIVATE_NAMES.items()}
    assert {fact for _, fact in PRIVATE_NAMES.values()} <= set(globals())


def test_a_window_does_not_outlive_the_iteration():
    """What docs/alarms.md says of the figures of episodes."""
    runner, driver, seen = MetricsLogger(), MetricsLogger(root=True), []
    for values in ([1.0, 1.0], [3.0], [5.0, 7.0]):
        for value in values:
            runner.log_value("success", value, window=100)
        driver.aggregate([runner.reduce(compile=False)])
        seen.append(float(driver.reduce()["success"].peek()))
    assert seen == [1.0, 3.0, 6.0]
