import gymnasium as gym
import numpy as np
import pytest
import ray
from gymnasium.wrappers import RecordEpisodeStatistics
from ray import tune
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.connectors.env_to_module import MeanStdFilter, PrevActionsPrevRewards
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors import ExternalReset, GoalEmbedding, VLMReward
from rllib_vlm_reward.connectors.callbacks import VLMRewardCallbacks
from rllib_vlm_reward.errors import (
    CheckpointError,
    ConfigError,
    FrameError,
    GoalError,
    RewardError,
)
from rllib_vlm_reward.plugin import add_vlm_reward, reward_of
from rllib_vlm_reward.policies import GoalConditionedModule, GoalConditionedQModule
from rllib_vlm_reward.warnings import warn_once


@pytest.fixture
def vlm_config(tiny_clip):
    """Returns a function: vlmrm's CartPole reward, with changes."""

    def make(**changes):
        given = {
            "encoder": tiny_clip,
            "goals": ["pole vertically upright on top of the cart"],
            "negatives": ["pole and cart"],
        }
        return VLMRewardConfig(**given).model_copy(update=changes)

    return make


def early(vlm_config, **changes):
    return vlm_config(mode="synchronous", threshold=0.5, early_end=True, **changes)


class OwnEnv(gym.Env):
    observation_space = gym.spaces.Box(0, 1, (4,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config):
        self.config = config


def pieces(config):
    env = gym.make_vec("CartPole-v1", num_envs=2, render_mode="rgb_array")
    pipeline = config.build_env_to_module_connector(env=env, spaces=None, device=None)
    return pipeline.connectors, env


def test_our_pieces_come_first_then_the_users(vlm_config):
    calls = []

    def own(env, spaces, device):
        calls.append((env, spaces, device))
        return [MeanStdFilter(), PrevActionsPrevRewards()]

    config = PPOConfig().environment("CartPole-v1").env_runners(env_to_module_connector=own)
    connectors, env = pieces(add_vlm_reward(config, vlm_config()))
    assert [type(piece) for piece in connectors[:3]] == [
        VLMReward,
        MeanStdFilter,
        PrevActionsPrevRewards,
    ]
    assert calls == [(env, None, None)]
    assert connectors[0].env is env


def test_a_users_factory_of_one_argument_keeps_it(vlm_config):
    config = PPOConfig().environment("CartPole-v1")
    config.env_runners(env_to_module_connector=lambda env: MeanStdFilter())
    connectors, _ = pieces(add_vlm_reward(config, vlm_config()))
    assert [type(piece) for piece in connectors[:2]] == [VLMReward, MeanStdFilter]


def test_a_type_error_of_the_users_factory_is_its_own(vlm_config):
    def own(env, spaces, device):
        raise TypeError("not a signature's")

    config = PPOConfig().environment("CartPole-v1").env_runners(env_to_module_connector=own)
    add_vlm_reward(config, vlm_config())
    with pytest.raises(TypeError, match="not a signature's"):
        pieces(config)


class OwnModule(GoalConditionedModule):
    """A module that is no longer ours, which may read any observation."""


def test_the_goals_embedding_joins_when_asked_for(vlm_config):
    config = PPOConfig().environment("CartPole-v1")
    config.rl_module(rl_module_spec=RLModuleSpec(module_class=OwnModule))
    connectors, env = pieces(add_vlm_reward(config, vlm_config(goal_embedding=True)))
    assert isinstance(connectors[1], GoalEmbedding)
    assert connectors[1].observation_space["goal"].shape == (16,)
    assert connectors[1].observation_space["observation"] == env.single_observation_space


class Own(RLlibCallback):
    pass


class Other(RLlibCallback):
    pass


@pytest.mark.parametrize("given", [Own, [Own, Other]])
def test_the_users_callbacks_stay_behind_ours(given, vlm_config):
    def function(**kwargs):
        pass

    config = PPOConfig().environment("CartPole-v1")
    config.callbacks(callbacks_class=given, on_train_result=function)
    add_vlm_reward(config, vlm_config())
    first, *rest = config.callbacks_class
    assert isinstance(first(), VLMRewardCallbacks)
    assert rest == (given if isinstance(given, list) else [given])
    assert config.callbacks_on_train_result is function


def test_a_gymnasium_id_is_asked_to_render_unless_the_user_said_how(vlm_config):
    config = add_vlm_reward(PPOConfig().environment("CartPole-v1"), vlm_config())
    assert config.env_config == {"render_mode": "rgb_array"}
    given = PPOConfig().environment("CartPole-v1", env_config={"render_mode": "human"})
    assert add_vlm_reward(given, vlm_config()).env_config == {"render_mode": "human"}
    other = PPOConfig().environment("CartPole-v1")
    assert add_vlm_reward(other, vlm_config(frames={"source": "info:rgb"})).env_config == {}


def test_an_early_end_wraps_a_gymnasium_id_outermost(vlm_config):
    given = {"wrappers": [RecordEpisodeStatistics]}
    config = PPOConfig().environment("CartPole-v1", env_config=given)
    env_config = add_vlm_reward(config, early(vlm_config)).env_config
    env = gym.make_vec("CartPole-v1", vectorization_mode="sync", **env_config).unwrapped.envs[0]
    assert isinstance(env, ExternalReset)
    assert isinstance(env.env, RecordEpisodeStatistics)
    assert given == {"wrappers": [RecordEpisodeStatistics]}  # the user's own dict stays


@pytest.mark.parametrize("registered", [False, True])
def test_an_early_end_wraps_a_class_or_a_registered_env(registered, vlm_config):
    if registered:
        tune.register_env("own", OwnEnv)
    config = PPOConfig().environment("own" if registered else OwnEnv, env_config={"size": 3})
    add_vlm_reward(config, early(vlm_config))
    copied = ray.cloudpickle.loads(ray.cloudpickle.dumps(config))  # as for a remote env runner
    env = copied.env(copied.env_config)
    assert isinstance(env, ExternalReset)
    assert isinstance(env.env, OwnEnv)
    assert env.unwrapped.config == {"size": 3}


def test_what_cannot_be_rewarded_says_why(vlm_config):
    def refused(config, says, **changes):
        with pytest.raises(RewardError, match=says):
            add_vlm_reward(config, vlm_config(**changes))

    refused(PPOConfig(), "without an env")
    several = PPOConfig().environment(OwnEnv).multi_agent(policies={"a", "b"})
    ends = {"early_end": True, "threshold": 0.5, "mode": "synchronous"}
    refused(several, "early_end: got a multi-agent configuration", **ends)
    refused(several, "goal_embedding: got a multi-agent configuration", goal_embedding=True)
    own = {"agents": {"a": {"threshold": 0.5}}}
    refused(PPOConfig().environment(OwnEnv), "single-agent configuration, expected none", **own)
    old = PPOConfig().environment(OwnEnv)
    old.api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False)
    refused(old, "old API stack")
    vector = PPOConfig().environment("CartPole-v1")
    vector.env_runners(gym_env_vectorize_mode=gym.VectorizeMode.VECTOR_ENTRY_POINT)
    refused(vector, "vectorises itself", mode="synchronous", threshold=0.5, early_end=True)
    refused(add_vlm_reward(PPOConfig().environment(OwnEnv), vlm_config()), "already")


@pytest.mark.parametrize(
    ("env_id", "env_config", "message"),
    [("CartPole-v9", {}, "v9"), ("CartPole-v1", {"wheels": 4}, "wheels")],
)
def test_an_env_that_gymnasium_cannot_make_is_an_error_at_once(
    env_id, env_config, message, vlm_config
):
    config = PPOConfig().environment(env_id, env_config=env_config)
    with pytest.raises(FrameError, match=rf"gymnasium cannot make it.*{message}"):
        add_vlm_reward(config, vlm_config())


class Blind(gym.Env):
    """Takes no render mode."""

    observation_space = gym.spaces.Box(0, 255, (8, 8, 3), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def __init__(self):
        pass


def test_an_env_without_a_render_mode_names_the_other_sources_of_frames(vlm_config):
    gym.register("Blind-v0", entry_point=Blind)
    with pytest.raises(FrameError, match=r"set frames\.source to obs"):
        add_vlm_reward(PPOConfig().environment("Blind-v0"), vlm_config())
    add_vlm_reward(PPOConfig().environment("Blind-v0"), vlm_config(frames={"source": "obs"}))


def test_a_goal_embedding_needs_a_policy_that_reads_it(vlm_config):
    config = PPOConfig().environment("CartPole-v1")
    with pytest.raises(RewardError, match="GoalConditionedModule"):
        add_vlm_reward(config, vlm_config(goal_embedding=True))


def test_codes_that_do_not_suit_the_embeddings_are_an_error_at_once(vlm_config):
    config = PPOConfig().environment("CartPole-v1")
    config.rl_module(
        rl_module_spec=RLModuleSpec(module_class=GoalConditionedModule),
        model_config={"goal_code": {"groups": 5, "codes": 8}},
    )
    with pytest.raises(ConfigError, match=r"5 groups for goals of 16 numbers.*\[1, 2, 4, 8, 16\]"):
        add_vlm_reward(config, vlm_config(goal_embedding=True))


def test_an_unknown_encoder_is_an_error_at_once(vlm_config):
    with pytest.raises(CheckpointError, match="ViT-B-23"):
        add_vlm_reward(PPOConfig().environment(OwnEnv), vlm_config(encoder="ViT-B-23/random"))


def test_a_plain_cartpole_trains_with_the_users_own_filter_and_callbacks(cluster, vlm_config):
    """The README's road: gymnasium's env, vlmrm's sentence, a CLIP asked for as random."""

    class SeesRewards(RLlibCallback):
        def on_sample_end(self, *, samples, metrics_logger, **kwargs):
            rewards = np.concatenate([episode.get_rewards() for episode in samples])
            metrics_logger.log_value("env_rewards_seen", int((rewards == 1).sum()), reduce="sum")

    config = (
        PPOConfig()
        .environment("CartPole-v1")
        .env_runners(
            num_env_runners=1,
            num_envs_per_env_runner=2,
            rollout_fragment_length=4,
            # Stateful: its state is merged and broadcast between the iterations.
            env_to_module_connector=lambda env, spaces, device: MeanStdFilter(),
            sample_timeout_s=300,
        )
        .training(train_batch_size_per_learner=8, minibatch_size=8, num_epochs=1)
        .callbacks(SeesRewards)
    )
    algorithm = add_vlm_reward(config, vlm_config(encoder="ViT-S-32-alt/random")).build_algo()
    try:
        results = [algorithm.train() for _ in range(3)]
    finally:
        algorithm.stop()
    sampled = results[-1]["env_runners"]
    assert sampled["vlm_reward"]["frames"] >= 24
    assert 0 < sampled["vlm_reward"]["score_min"] < sampled["vlm_reward"]["score_max"] < 1
    # CartPole pays 1 a step; the user's callback, behind ours, saw none of it.
    assert sampled["env_rewards_seen"] == 0


class Pictures(gym.Env):
    """Observes uint8 frames; its spaces are known when it is made."""

    made = 0

    def __init__(self, config=None):
        type(self).made += 1
        side = (config or {}).get("side", 64)
        self.observation_space = gym.spaces.Box(0, 255, (side, side, 3), np.uint8)
        self.action_space = gym.spaces.Discrete(2)


def given_module(config):
    spec = config._rl_module_spec
    return None if spec is None else spec.module_class


@pytest.mark.parametrize("way", ["class", "name", "id"])
def test_uint8_frames_without_a_module_get_ours(vlm_config, caplog, way):
    env = {"class": Pictures, "name": "pictures", "id": "rllib_vlm_reward/Find-v0"}[way]
    tune.register_env("pictures", Pictures)
    rendered = {} if way == "id" else {"frames": {"source": "obs"}}
    config = add_vlm_reward(PPOConfig().environment(env), vlm_config(**rendered))
    assert given_module(config) is GoalConditionedModule
    assert reward_of(config).goal_embedding
    assert any(isinstance(piece, GoalEmbedding) for piece in pieces(config)[0])
    side = 56 if way == "id" else 64
    assert f"uint8 frames [{side}, {side}, 3], for which RLlib has no policy. Goal" in caplog.text


class TwoPictures(MultiAgentEnv):
    """Two agents, of which the second observes frames of a dtype."""

    def __init__(self, config):
        super().__init__()
        self.agents = self.possible_agents = ["state", "eye"]
        frame = gym.spaces.Box(0, 255, (84, 84, 3), np.dtype(config["dtype"]))
        self.observation_spaces = {"state": gym.spaces.Box(-1, 1, (4,)), "eye": frame}
        self.action_spaces = dict.fromkeys(self.agents, gym.spaces.Discrete(2))


def two_pictures(dtype):
    config = PPOConfig().environment(TwoPictures, env_config={"dtype": dtype})
    return config.multi_agent(policies={"state", "eye"})


def test_uint8_frames_of_one_of_several_agents_need_a_module(vlm_config):
    vlm = vlm_config(frames={"source": "info:frame"})
    tune.register_env("two_pictures", TwoPictures)
    for env in (TwoPictures, "two_pictures"):
        config = two_pictures("uint8").environment(env)
        with pytest.raises(RewardError, match=r"agent 'eye' .* \[84, 84, 3\].*MultiRLModuleSpec"):
            add_vlm_reward(config, vlm)
    add_vlm_reward(two_pictures("float32"), vlm)
    own = MultiRLModuleSpec(rl_module_specs={"eye": RLModuleSpec()})
    add_vlm_reward(two_pictures("uint8").rl_module(rl_module_spec=own), vlm)
    converts = two_pictures("uint8")
    converts.env_runners(env_to_module_connector=lambda env, spaces, device: MeanStdFilter())
    add_vlm_reward(converts, vlm)


def test_its_patches_fit_the_frames_unless_they_are_given(vlm_config):
    def spec_of(**model_config):
        config = DQNConfig().environment(Pictures, env_config={"side": 84})
        config.training(double_q=False).rl_module(model_config=model_config)
        add_vlm_reward(config, vlm_config(frames={"source": "obs"}))
        (spec,) = config.get_multi_rl_module_spec(
            spaces={"default_policy": (gym.spaces.Dict(), gym.spaces.Discrete(2))}
        ).rl_module_specs.values()
        assert spec.module_class is GoalConditionedQModule
        return spec.model_config

    found = spec_of(hidden=16)
    assert (found["patch_size"], found["hidden"], found["double_q"]) == (6, 16, False)
    assert spec_of(patch_size=12)["patch_size"] == 12


@pytest.mark.parametrize(
    ("changes", "rl_module"),
    [
        ({"goal_embedding": False}, {}),
        ({}, {"model_config": {"fcnet_hiddens": [8]}}),
        ({}, {"model_config": DefaultModelConfig(use_lstm=True)}),
        ({}, {"rl_module_spec": RLModuleSpec()}),
    ],
)
def test_what_was_chosen_is_kept(vlm_config, caplog, changes, rl_module):
    config = PPOConfig().environment(Pictures).rl_module(**rl_module)
    add_vlm_reward(config, vlm_config(frames={"source": "obs"}, **changes))
    assert given_module(config) is None
    assert not reward_of(config).goal_embedding
    assert "no policy" not in caplog.text


@pytest.mark.parametrize("said", [{}, {"goal_embedding": False}])
def test_a_connector_that_may_change_the_frames_leaves_the_module_to_its_user(
    vlm_config, caplog, said
):
    config = PPOConfig().environment(Pictures)
    config.env_runners(env_to_module_connector=lambda env, spaces, device: MeanStdFilter())
    add_vlm_reward(config, vlm_config(frames={"source": "obs"}, **said))
    assert given_module(config) is None
    assert not reward_of(config).goal_embedding
    warned = "module_class=GoalConditionedModule)) and set goal_embedding=True" in caplog.text
    assert warned is not bool(said)


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({}, True),
        ({"goal_embedding": False}, False),
        ({"goal_source": "obs:goal"}, False),
        ({"goals": ["a red wall"]}, False),
    ],
)
def test_goals_that_the_policy_perhaps_does_not_observe_are_a_warning(
    vlm_config, caplog, changes, warned
):
    warn_once.cache_clear()
    two = {"goals": ["a red wall", "a green wall"]}
    for _ in range(2):  # as for the trials of a search
        add_vlm_reward(PPOConfig().environment("CartPole-v1"), vlm_config(**{**two, **changes}))
    said = caplog.text.count("sees which one it has only if the env's observation")
    assert said == int(warned)


def test_a_configuration_that_is_built_is_refused(vlm_config):
    config = PPOConfig().environment("CartPole-v1")
    config.freeze()
    with pytest.raises(RewardError, match=r"Call add_vlm_reward before build_algo\(\)"):
        add_vlm_reward(config, vlm_config())


def test_an_env_that_declares_its_spaces_is_not_made_for_them(vlm_config):
    made = Pictures.made
    config = (
        PPOConfig()
        .environment(Pictures)
        .environment(
            observation_space=gym.spaces.Box(0, 255, (40, 40, 3), np.uint8),
            action_space=gym.spaces.Discrete(2),
        )
    )
    assert given_module(add_vlm_reward(config, vlm_config())) is GoalConditionedModule
    assert given_module(add_vlm_reward(PPOConfig().environment(OwnEnv), vlm_config())) is None
    assert Pictures.made == made


def test_an_env_that_cannot_be_made_here_fails_where_it_is_needed(vlm_config):
    class Elsewhere(gym.Env):
        def __init__(self, config):
            raise OSError("there is no simulator on this machine")

    assert given_module(add_vlm_reward(PPOConfig().environment(Elsewhere), vlm_config())) is None


@pytest.mark.parametrize(
    ("swap", "says"),
    [
        (lambda config, vlm: (type(config), vlm), r"the class PPOConfig.*PPOConfig\(\)"),
        (lambda config, vlm: (vlm, config), "got VLMRewardConfig and PPOConfig, expected RLlib's"),
        (lambda config, vlm: (config, vlm.model_dump()), r"got PPOConfig and dict.*\*\*reward"),
        (lambda config, vlm: (object.__new__(Algorithm), vlm), r"configuration, before build_algo"),
    ],
)
def test_what_is_no_configuration_is_named(swap, says, vlm_config):
    with pytest.raises(RewardError, match=says):
        add_vlm_reward(*swap(PPOConfig().environment("CartPole-v1"), vlm_config()))


class Seen(OwnEnv):
    agent_position = (0.25, 1)

    def reset(self, *, seed=None, options=None):
        return np.zeros(4, np.float32), {}


class SeenByNumPy(Seen):
    agent_position = (0.5, 0.5)

    def __init__(self, config):
        super().__init__(config)
        self.agent_position = np.array([0.25, 1.0], np.float32)


class Broken(Seen):
    def __init__(self, config):
        raise FileNotFoundError("room.png")


class Outside(Seen):
    agent_position = (14, 26)


def focal(vlm_config, **changes):
    bonus = {"kind": "focal", "weight": 0.5, "centre": "agent", **changes}
    return vlm_config(bonus=bonus, templates=[{"noun": "the pole"}], frames={"source": "info:rgb"})


@pytest.mark.parametrize(
    ("env", "centre"),
    [
        (Seen, (0.25, 1.0)),
        (SeenByNumPy, (0.25, 1.0)),
        ("rllib_vlm_reward/Lift-v0", (0.5, 6.5 / 7)),  # below gymnasium's wrappers
    ],
    ids=str,
)
def test_the_env_says_where_its_agent_is(env, centre, vlm_config):
    vlm = reward_of(add_vlm_reward(PPOConfig().environment(env), focal(vlm_config)))
    assert vlm.bonus.centre == centre
    assert vlm.scorer.readouts[0].centre == centre
    assert vlm.bonus.weight == 0.5


@pytest.mark.parametrize(
    ("env", "error"),
    [
        (OwnEnv, r"the env does not say where that is .*agent_position = \(x, y\), shares of"),
        ("CartPole-v1", r"the env does not say where that is .* or to \[x, y\]"),
        (Outside, r"the env's agent_position: got \(14, 26\), expected x and y: .* Divide pixels"),
    ],
    ids=str,
)
def test_an_agent_that_is_nowhere_in_the_frame(env, error, vlm_config):
    with pytest.raises(RewardError, match=error):
        add_vlm_reward(PPOConfig().environment(env), focal(vlm_config))
    # With a place, nobody asks the env.
    add_vlm_reward(PPOConfig().environment(env), focal(vlm_config, centre=[0.5, 1.0]))


def test_an_env_that_cannot_be_made_raises_its_own_error(vlm_config):
    with pytest.raises(FileNotFoundError, match=r"room\.png"):
        add_vlm_reward(PPOConfig().environment(Broken), focal(vlm_config))


def test_several_agents_have_no_common_place(vlm_config):
    config = PPOConfig().environment(OwnEnv).multi_agent(policies={"p"})
    with pytest.raises(RewardError, match=r"bonus.centre: got 'agent' with a multi-agent"):
        add_vlm_reward(config, focal(vlm_config))


@pytest.mark.parametrize(
    ("noun", "nothing", "error"),
    [
        ("a red ball and " * 7, "nothing", r"text 'a red ball .*only the first 16"),
        ("the pole", "The  Pole", r"reads 'the pole' and 'The  Pole' as the same tokens"),
    ],
)
def test_the_words_of_a_bonus_are_read_before_training(noun, nothing, error, vlm_config):
    vlm = focal(vlm_config, centre="centre", nothing=[nothing])
    vlm = vlm.model_copy(update={"templates": [{"noun": noun}]})
    with pytest.raises(GoalError, match=error):
        add_vlm_reward(PPOConfig().environment(OwnEnv), vlm)


def test_a_noun_that_the_clip_was_never_taught_is_a_warning(vlm_config, caplog):
    changes = {
        "encoder": "small",
        "goals": ["the agent is carrying a red ball"],
        "negatives": ["the agent is carrying nothing"],
        "templates": [{"noun": "a zeppelin"}],
    }
    vlm = focal(vlm_config, centre="centre").model_copy(update=changes)
    add_vlm_reward(PPOConfig().environment(OwnEnv), vlm)
    assert "never taught the words ['zeppelin'] (as in 'a zeppelin')" in caplog.text


MAP = {"goal_map": True, "mode": "synchronous", "templates": [{"noun": "the pole"}]}


def test_a_map_has_the_size_of_the_encoders_patches(vlm_config):
    config = PPOConfig().environment("rllib_vlm_reward/Lift-v0")
    vlm = reward_of(add_vlm_reward(config, vlm_config(**MAP, frames={"source": "obs"})))
    assert vlm.goal_map == (7, 7)
    assert vlm.goal_embedding  # as the default policy for frames needs
    assert config._rl_module_spec.module_class is GoalConditionedModule


@pytest.mark.parametrize(
    ("config", "changes", "error"),
    [
        (PPOConfig().environment(OwnEnv), {}, "goal_map: got goal_embedding false, expected true"),
        (
            PPOConfig().environment(OwnEnv),
            {"goal_embedding": True},
            "goal_embedding: the observation becomes a Dict .* no default policy",
        ),
        (
            PPOConfig().environment(OwnEnv),
            {"encoder": "RN50/random", "goal_embedding": True},
            r"bonus or goal_map: got the encoder 'RN50/random', which has no patch .* ViT",
        ),
        (
            PPOConfig().environment(OwnEnv).multi_agent(policies={"p"}),
            {},
            "goal_map: got a multi-agent configuration",
        ),
    ],
    ids=["no goal", "no policy", "no patches", "agents"],
)
def test_what_a_map_needs_is_checked_before_training(config, changes, error, vlm_config):
    vlm = vlm_config(**MAP, frames={"source": "info:rgb"}).model_copy(update=changes)
    with pytest.raises(RewardError, match=error):
        add_vlm_reward(config.copy(copy_frozen=False), vlm)


@pytest.mark.parametrize(
    ("config", "changes", "error"),
    [
        (PPOConfig(), {}, "hindsight: got PPOConfig, expected DQNConfig or SACConfig, which learn"),
        (APPOConfig(), {}, "hindsight: got APPOConfig, .* it acted for another goal. Choose DQN"),
        (IMPALAConfig(), {}, "hindsight: got IMPALAConfig, expected DQNConfig or SACConfig"),
        (DQNConfig(), {"goal_embedding": False}, "hindsight: got goal_embedding false, expected"),
        (
            DQNConfig().training(replay_buffer_config={"type": "ReplayBuffer"}),
            {},
            "hindsight: got replay_buffer_config with the type 'ReplayBuffer', expected Episode",
        ),
        (
            DQNConfig().multi_agent(policies={"p"}),
            {},
            "hindsight: got a multi-agent configuration",
        ),
    ],
    ids=["PPO", "APPO", "IMPALA", "no goal", "buffer", "agents"],
)
def test_hindsight_is_for_dqn_and_sac_with_goals(config, changes, error, vlm_config):
    config = config.environment("rllib_vlm_reward/Lift-v0")
    goals = {"goals": ["a {red|blue} ball"], "frames": {"source": "obs"}}
    vlm = vlm_config(**goals, threshold=0.5, hindsight=4, **changes)
    with pytest.raises(RewardError, match=error):
        add_vlm_reward(config, vlm)


@pytest.mark.parametrize("kind", ["", "Prioritized"])
def test_hindsight_names_the_replay_buffer_of_dqn(kind, vlm_config):
    config = DQNConfig().environment("rllib_vlm_reward/Lift-v0")
    config.training(replay_buffer_config={"type": f"{kind}EpisodeReplayBuffer", "capacity": 70})
    goals = {"goals": ["a {red|blue} ball"], "frames": {"source": "obs"}}
    add_vlm_reward(config, vlm_config(**goals, threshold=0.5, hindsight=4))
    wanted = {
        "type": f"rllib_vlm_reward.replay.Hindsight{kind}EpisodeReplayBuffer",
        "capacity": 70,
        "copies": 4,
    }
    assert wanted.items() <= config.replay_buffer_config.items()
    config.validate()


def test_a_bonus_needs_a_tower_with_patches(vlm_config):
    vlm = focal(vlm_config, centre="centre").model_copy(update={"encoder": "RN50/random"})
    with pytest.raises(RewardError, match=r"encoder 'RN50/random', which has no patch .* ViT"):
        add_vlm_reward(PPOConfig().environment(OwnEnv), vlm)


def with_hints(*statements, **changes):
    given = {"goals": {"pick up {}": [*statements]}, "weight": 0.5, **changes}
    return VLMRewardConfig(
        encoder="small",
        goals=["pick up the red {ball|key}"],
        templates=[{"goal": "pick up {}", "prompt": "the agent is carrying {}"}],
        threshold=0.5,
        hints=given,
        goal_embedding=False,
    )


@pytest.mark.parametrize(
    ("statements", "error"),
    [
        (["at {0} " + "and on " * 9], r"text 'at the red ball .*only the first 16"),
        (
            [{"statement": "at {0}", "nothing": "At the  red key"}],
            "'hint 0: at the red ball': .*'at the red key' and .*'At the  red key' as the same",
        ),
    ],
)
def test_what_the_clip_reads_of_hints_is_checked_before_training(statements, error):
    hints = with_hints(*statements)
    with pytest.raises(GoalError, match=error):
        add_vlm_reward(PPOConfig().environment(OwnEnv), hints)


def test_a_hint_that_the_clip_was_never_taught_is_a_warning(caplog):
    warn_once.cache_clear()
    add_vlm_reward(PPOConfig().environment(OwnEnv), with_hints("the agent is facing {0}"))
    assert not caplog.records
    add_vlm_reward(PPOConfig().environment(OwnEnv), with_hints("the agent juggles {0}"))
    assert "'small' was never taught the words ['juggles'] (as in 'the agent juggles the red ball"


@pytest.mark.parametrize(
    "settings",
    [{"normalize_rewards": True}, {"agents": {"left": {"normalize_rewards": True}}}],
    ids=["of all", "of one agent"],
)
def test_moments_of_rewards_need_merged_states(settings):
    alone = PPOConfig().environment(OwnEnv).env_runners(merge_env_runner_states=False)
    if "agents" in settings:
        alone.multi_agent(policies={"p"}, policy_mapping_fn=lambda *_, **__: "p")
    reward = VLMRewardConfig(encoder="small", goals=["a red ball", "a blue ball"], **settings)
    with pytest.raises(RewardError, match=r"normalize_rewards: got merge_env_runner_states=False"):
        add_vlm_reward(alone, reward)


def test_counts_of_hints_need_merged_states():
    alone = PPOConfig().environment(OwnEnv).env_runners(merge_env_runner_states=False)
    with pytest.raises(RewardError, match=r"hints.decay: got merge_env_runner_states=False"):
        add_vlm_reward(alone, with_hints("facing {0}"))
    add_vlm_reward(alone, with_hints("facing {0}", decay="none"))
