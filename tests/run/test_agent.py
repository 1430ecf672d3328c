"""A restored policy acts as RLlib's env runner did, and takes goals that it never saw."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import fork_server
import gymnasium as gym
import numpy as np
import pytest
import torch
from filmed import Filmed, FilmedBox
from painted import BANK, GOALS, PaintedEnv
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.connectors.env_to_module import EnvToModulePipeline
from ray.rllib.connectors.module_to_env import ModuleToEnvPipeline
from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_vlm_reward import Agent, policies
from rllib_vlm_reward.connectors.goal_embedding import GoalEmbedding
from rllib_vlm_reward.connectors.pipeline import find_piece
from rllib_vlm_reward.connectors.reward import VLMReward
from rllib_vlm_reward.errors import (
    CheckpointError,
    ConfigError,
    FrameError,
    GoalError,
    PoolError,
)
from rllib_vlm_reward.plugin import add_vlm_reward
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.run.manifest import list_files
from rllib_vlm_reward.serving.pool import RewardPool

ALGORITHMS = {
    "PPO": (PPOConfig, "GoalConditionedModule"),
    "APPO": (APPOConfig, "GoalConditionedModule"),
    "IMPALA": (IMPALAConfig, "GoalConditionedModule"),
    "DQN": (DQNConfig, "GoalConditionedQModule"),
    "SAC": (SACConfig, "GoalConditionedSACModule"),
}
PLAIN: dict = {}
OUTPUT = "action_dist_inputs"
LSTM, STACKED = {"memory": "lstm", "lstm_size": 16, "max_seq_len": 7}, {"stacked_frames": 3}


class Noted:
    """Notes the action that the env was given in the info, and takes no other than its space's."""

    def step(self, action):
        assert self.action_space.contains(action)
        *result, info = super().step(action)
        return *result, {**info, "taken": action}


class NotedFilmed(Noted, Filmed):
    pass


class NotedBox(Noted, FilmedBox):
    """Its bounds are far from what a policy puts out, so that an action must be unsquashed."""

    action_space = gym.spaces.Box(np.float32([5, -4]), np.float32([9, -2]))


class NotedPainted(Noted, PaintedEnv):
    """Its observation is the frame's number and the goal's, small enough for RLlib's network."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def _show(self):
        _, info = super()._show()
        return np.array([self.frame / 512, self.goal], np.float32), info


def configuration(algorithm, env, model_config, vlm):
    make, module = ALGORITHMS[algorithm]
    config = make().environment(env)
    config.env_runners(
        num_env_runners=0, num_envs_per_env_runner=2, rollout_fragment_length=17
    ).debugging(seed=0)
    if vlm.goal_embedding:
        spec = RLModuleSpec(module_class=getattr(policies, module))
        config.rl_module(rl_module_spec=spec, model_config={"hidden": 16, **model_config})
    else:
        config.rl_module(model_config={"fcnet_hiddens": [8]})
    if algorithm in ("DQN", "SAC"):
        config.training(
            replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": 1000},
            num_steps_sampled_before_learning_starts=30,
            train_batch_size_per_learner=16,
        )
        config.reporting(min_time_s_per_iteration=0)
    elif algorithm == "PPO":
        config.training(train_batch_size_per_learner=68, minibatch_size=68, num_epochs=1)
    else:
        config.training(train_batch_size_per_learner=34)
        config.learners(num_learners=0, num_aggregator_actors_per_learner=0)
        config.reporting(min_time_s_per_iteration=0.3)
    return add_vlm_reward(config, vlm)


@pytest.fixture(scope="module")
def trained(vlm_config, shared_pool, tmp_path_factory):
    """Returns a function: a checkpoint and what its env runner did with it, each made once."""
    made = {}

    def make(algorithm="PPO", env=NotedFilmed, model_config=PLAIN, **vlm):
        key = repr((algorithm, env, model_config, vlm))
        if key not in made:
            given = {"goal_embedding": env is not NotedPainted, "mode": "deferred", **vlm}
            given.setdefault("frames", {"source": "render" if env is NotedPainted else "obs"})
            reward = vlm_config(serving={"pool_name": shared_pool}, **given)
            built = configuration(algorithm, env, model_config, reward).build_algo()
            built.train()
            path = built.save_to_path(tmp_path_factory.mktemp("run") / "checkpoint")
            if algorithm in ("APPO", "IMPALA"):  # whose local env runner may lag behind the learner
                saved = Path(path) / "learner_group/learner/rl_module/default_policy"
                built.env_runner.module.set_state(RLModule.from_checkpoint(saved).get_state())
            episodes = built.env_runner.sample(num_episodes=6, explore=False)
            if algorithm == "DQN":
                for each in episodes:
                    seen = [each.get_observations(t) for t in range(len(each))]
                    values = [q_values(built.env_runner.module, one) for one in seen]
                    each.extra_model_outputs[OUTPUT] = np.array(values)
            built.stop()
            made[key] = path, episodes
        return made[key]

    return make


@pytest.fixture(scope="module")
def plain(trained):
    return trained()


def shown(episode):
    """Yield the observation and the goal of each step, as the env gave them."""
    goal = episode.get_infos(0)["goal"]
    for t, info in enumerate(episode.get_infos()):
        yield (BANK[info["place"]] if "place" in info else episode.get_observations(t)), goal


def q_values(module, observation):
    """Return the Q values of one observation; DQN's env runner keeps its actions alone."""
    batch = {name: torch.as_tensor(part)[None] for name, part in observation.items()}
    with torch.no_grad():
        return module.compute_q_values({"obs": batch})["qf_preds"][0].numpy()


def assert_same(agent, episodes):
    taken = []
    for episode in episodes:
        agent.reset()
        infos, outputs = episode.get_infos(), episode.extra_model_outputs[OUTPUT]
        for t, (observation, goal) in enumerate(shown(episode)):
            if t == len(episode):
                break
            action = agent.act(observation, goal if agent.takes_goal else None)
            ours = agent._last[1].get(OUTPUT)
            if ours is None:
                ours = q_values(agent._module, agent._episode.get_observations(-1))
            np.testing.assert_allclose(ours, outputs[t], rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(action, infos[t + 1]["taken"], rtol=1e-4, atol=1e-5)
            assert agent.action_space.contains(action)
            taken.append(outputs[t])
    assert len(taken) > 30
    assert np.ptp(taken, axis=0).min() > 1e-4, "or any policy would do the same"


@pytest.mark.parametrize(
    ("algorithm", "env", "model_config"),
    [
        ("PPO", NotedFilmed, PLAIN),
        ("PPO", NotedFilmed, LSTM),
        ("PPO", NotedBox, STACKED),
        ("PPO", NotedPainted, PLAIN),
        ("APPO", NotedFilmed, LSTM),
        ("IMPALA", NotedFilmed, STACKED),
        ("DQN", NotedFilmed, STACKED),
        ("SAC", NotedFilmed, PLAIN),
        ("SAC", NotedBox, PLAIN),
    ],
)
def test_it_acts_as_the_env_runner_did(algorithm, env, model_config, trained):
    path, episodes = trained(algorithm, env, model_config)
    assert_same(Agent.load(path), episodes)


MAPPED = {"goal_map": True, "mode": "synchronous", "templates": [{"noun": "{}"}]}


@pytest.mark.parametrize(
    ("algorithm", "model_config"), [("PPO", LSTM), ("DQN", STACKED), ("SAC", PLAIN)], ids=str
)
def test_with_a_map_it_acts_as_the_env_runner_did(algorithm, model_config, trained):
    path, episodes = trained(algorithm, NotedFilmed, model_config, **MAPPED)
    agent = Agent.load(path)
    assert agent.sees_map
    assert_same(agent, episodes)
    for episode in episodes[:2]:
        for t, (frame, goal) in enumerate(shown(episode)):
            seen = episode.get_observations(t)["map"]
            np.testing.assert_allclose(agent.read_map(frame, goal), seen, atol=1e-5)


def test_a_map_of_frames_that_are_no_observation_needs_the_frame(trained):
    path, episodes = trained(env=NotedFilmed, frames={"source": "render"}, **MAPPED)
    agent, (episode, *_) = Agent.load(path), episodes
    (first, goal), (second, _), *_ = shown(episode)
    with pytest.raises(FrameError, match=r"got none, .* frames.source 'render', .*frame=frame"):
        agent.act(first, goal)
    for t, frame in enumerate((first, second)):
        agent.act(np.zeros_like(first), goal, frame=frame)
        seen = agent._episode.get_observations(-1)["map"]
        np.testing.assert_allclose(seen, episode.get_observations(t)["map"], atol=1e-5)


def test_a_map_needs_the_clip_of_the_training(trained, no_clip):
    agent = Agent.load(trained(algorithm="SAC", **MAPPED)[0])
    with pytest.raises(CheckpointError, match=r"sees a map, and the CLIP .* cannot be loaded"):
        agent.act(BANK[0], GOALS[0])


def test_a_new_goal_has_a_map_of_its_noun(trained, tiny_clip):
    agent = Agent.load(trained(algorithm="SAC", **MAPPED)[0])
    agent.act(BANK[0], "a pink wall")
    encoder = CLIPEncoder.load(tiny_clip, precision="fp32")
    patches = encoder.tower.with_patches(BANK[:1])[1][0].double().numpy()
    words = encoder.encode_texts(["a pink wall", *GOALS, "nothing"]).double().numpy()
    powers = np.exp(encoder.logit_scale * patches @ words.T)
    expected = powers[..., :1] / powers.sum(axis=-1, keepdims=True)
    seen = agent._episode.get_observations(-1)["map"]
    np.testing.assert_allclose(seen, expected, atol=1e-5)


def test_a_policy_without_a_map_reads_none(plain):
    agent = Agent.load(plain[0])
    assert not agent.sees_map
    with pytest.raises(GoalError, match="this policy sees no map"):
        agent.read_map(BANK[0], GOALS[0])


@pytest.fixture
def no_pool(monkeypatch):
    def connect(*args, **kwargs):
        raise AssertionError("a pool was looked for")

    monkeypatch.setattr(RewardPool, "connect", connect)


@pytest.fixture
def no_clip(tiny_clip):
    """Take the CLIP's files away for a test."""
    there, away = Path(tiny_clip), Path(tiny_clip + "-away")
    there.rename(away)
    yield
    away.rename(there)


def test_known_goals_need_neither_pool_nor_clip(plain, no_pool, no_clip):
    path, episodes = plain
    agent = Agent.load(Path(path).parent)  # a run's folder, with checkpoint/
    assert agent.goals == GOALS
    assert_same(agent, episodes)
    with pytest.raises(CheckpointError, match=r"'a pink wall'.*cannot be loaded.*of 3 other"):
        agent.act(BANK[0], "a pink wall")
    agent.act(BANK[0], GOALS[0])  # the refused goal left nothing behind


def test_a_new_goal_is_embedded_by_the_clip_in_this_process(plain, no_pool, tiny_clip):
    from rllib_vlm_reward.reward_model.encoder import load_encoder

    agent = Agent.load(plain[0])
    agent.act(BANK[0], "a pink wall")
    seen = agent._episode.get_observations(-1)["goal"]
    expected = load_encoder(tiny_clip, precision="fp32").encode_texts(["a pink wall"])[0]
    np.testing.assert_allclose(seen, expected.numpy(), atol=1e-6)
    # The stored one is what the CLIP makes, too.
    agent.act(BANK[0], GOALS[1])
    stored = agent._episode.get_observations(-1)["goal"]
    expected = load_encoder(tiny_clip, precision="fp32").encode_texts([GOALS[1]])[0]
    np.testing.assert_allclose(stored, expected.numpy(), atol=1e-6)


def test_a_clip_of_other_weights_is_refused(plain, no_pool):
    agent = Agent.load(plain[0])
    agent._embedding._fingerprint = "0" * 64
    with pytest.raises(CheckpointError, match=r"its weights are .* trained with 000000000000"):
        agent.act(BANK[0], "a pink wall")


def test_the_goal_lasts_for_an_episode_and_may_change(trained):
    agent = Agent.load(trained()[0])
    with pytest.raises(GoalError, match=r"got none for a policy of 3 goals.*goal='a red wall'"):
        agent.act(BANK[0])

    def goal_of(*goal):
        agent.act(BANK[0], *goal)
        return agent._episode.get_observations(-1)["goal"].tolist()

    red, again, blue = goal_of(GOALS[0]), goal_of(), goal_of(GOALS[1])
    assert red == again != blue
    assert goal_of() == blue
    agent.reset()
    with pytest.raises(GoalError, match="got none"):
        agent.act(BANK[0])


def test_a_policy_of_one_goal_needs_none(trained):
    one = {"goals": GOALS[:1], "negatives": ["a wall"]}
    agent = Agent.load(trained(**one)[0])
    agent.act(BANK[0])
    assert np.array_equal(
        agent._episode.get_observations(-1)["goal"], agent._embedding.embed(GOALS[0])
    )
    agent.act(BANK[0], GOALS[1])  # and may be given another
    agent.act(BANK[0])
    assert np.array_equal(
        agent._episode.get_observations(-1)["goal"], agent._embedding.embed(GOALS[1])
    )


def test_a_policy_without_a_goal_input_refuses_goals(trained):
    agent = Agent.load(trained(env=NotedPainted)[0])
    assert not agent.takes_goal
    seen = np.zeros(2)
    agent.act(seen)
    for goal in ("a pink wall", GOALS[0]):
        with pytest.raises(GoalError, match=r"no input for a goal.*'a red wall', 'a blue wall'"):
            agent.act(seen, goal)


def test_a_policy_without_codes_has_no_name_for_a_goal(plain):
    with pytest.raises(ConfigError, match=r"policy without codes.*goal_code: \{groups"):
        Agent.load(plain[0]).goal_code(GOALS[0])


@pytest.mark.parametrize(
    ("observation", "says"),
    [
        (BANK[:2], r"got uint8 \[2, 16, 16, 3\], expected uint8 \[16, 16, 3\]"),
        (BANK[0] / 255, r"got float64 \[16, 16, 3\], expected uint8"),
        (None, r"got object \[\], expected uint8"),
    ],
)
def test_an_observation_of_another_kind_is_refused(observation, says, trained):
    agent = Agent.load(trained()[0])
    with pytest.raises(ConfigError, match=says):
        agent.act(observation, GOALS[0])
    agent.act(BANK[0], GOALS[0])


@pytest.mark.parametrize("model_config", [LSTM, STACKED], ids=["lstm", "stacked"])
def test_long_episodes_stay_small_and_change_nothing(model_config, trained, monkeypatch):
    from rllib_vlm_reward.run import agent as module

    path, _ = trained("PPO", NotedFilmed if model_config is LSTM else NotedBox, model_config)

    def outputs(kept):
        monkeypatch.setattr(module, "_KEPT", kept)
        agent = Agent.load(path)
        found = []
        for frame in BANK[:60]:
            agent.act(frame, GOALS[0])
            found.append(agent._last[1]["action_dist_inputs"])
        return np.array(found), len(agent._episode.observations)

    (whole, _), (cut, held) = outputs(1000), outputs(5)
    np.testing.assert_array_equal(whole, cut)
    assert held <= 6


def test_a_forgotten_reset_is_seen_by_a_policy_with_a_memory(trained):
    agent = Agent.load(trained("PPO", NotedFilmed, LSTM)[0])
    first = [(agent.reset(), agent.act(BANK[0], GOALS[0]), agent._last[1])[2] for _ in range(2)]
    later = (agent.act(BANK[0], GOALS[0]), agent._last[1])[1]
    inputs = [each["action_dist_inputs"] for each in (*first, later)]
    assert np.array_equal(inputs[0], inputs[1])
    assert not np.array_equal(inputs[0], inputs[2])


@pytest.mark.parametrize("algorithm", ["PPO", "DQN", "SAC"])
def test_exploring_draws_actions(algorithm, trained):
    model_config = STACKED if algorithm == "DQN" else {}
    agent = Agent.load(trained(algorithm, NotedFilmed, model_config)[0])

    def actions(explore):
        return {int(agent.act(BANK[0], GOALS[0], explore=explore)) for _ in range(200)}

    assert len(actions(explore=False)) == 1
    assert len(actions(explore=True)) == 2


def test_folders_without_a_policy_are_refused(tmp_path, trained):
    with pytest.raises(CheckpointError, match=r"without RLlib's learner_group/ and env_runner/"):
        Agent.load(tmp_path)
    for name in ("first", "others"):
        (tmp_path / "learner_group" / "learner" / "rl_module" / name).mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"the policies \['first', 'others'\]"):
        Agent.load(tmp_path)


@pytest.mark.parametrize("goal", [5, ["a red wall"], b"a red wall", float("nan"), True])
def test_a_goal_that_is_no_text_is_refused(goal, plain):
    with pytest.raises(GoalError, match="expected a text"):
        Agent.load(plain[0]).act(BANK[0], goal)


@pytest.mark.parametrize("goal", ["a {red|blue} wall", "a red|blue wall", "a {colour} wall"])
def test_a_pattern_is_no_goal_of_an_agent(goal, plain):
    with pytest.raises(GoalError, match="Write the goal in full"):
        Agent.load(plain[0]).act(BANK[0], goal)


def test_an_observation_of_uneven_lists_is_refused(plain):
    with pytest.raises(ConfigError, match="observation: got object"):
        Agent.load(plain[0]).act([[1], [1, 2]], GOALS[0])


def damaged(source, folder, name, content):
    """A copy of a checkpoint of which one file has other content, or is missing."""
    shutil.copytree(source, folder)
    (file,) = (each for each in folder.rglob(Path(name).name) if each.match(name))
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content(file.read_bytes()))
    return folder


@pytest.mark.parametrize(
    "content", [None, lambda old: old[: len(old) // 2], lambda old: b"", lambda old: b"x"]
)
@pytest.mark.parametrize(
    "name",
    [
        "default_policy/class_and_ctor_args.pkl",
        "default_policy/module_state.pkl",
        "env_to_module_connector/class_and_ctor_args.pkl",
        "env_to_module_connector/state.pkl",
        "module_to_env_connector/class_and_ctor_args.pkl",
    ],
)
def test_a_damaged_checkpoint_is_refused(name, content, trained, tmp_path):
    path, _ = trained()
    with pytest.raises(CheckpointError, match=r"cannot be restored .* copy the run again"):
        Agent.load(damaged(path, tmp_path / "copy", name, content))


def test_a_class_that_is_not_there_is_no_empty_pipeline(trained, tmp_path):
    path, _ = trained()

    def elsewhere(old):
        return old.replace(b"connectors.reward", b"connectors.rewarx")

    name = "env_to_module_connector/class_and_ctor_args.pkl"
    with pytest.raises(CheckpointError, match=r"ModuleNotFoundError.*rewarx.*PYTHONPATH"):
        Agent.load(damaged(path, tmp_path / "copy", name, elsewhere))


def test_a_run_without_a_part_of_its_checkpoint_is_refused(trained, tmp_path):
    path, _ = trained()
    copy = tmp_path / "run" / "checkpoint"
    shutil.copytree(path, copy)
    list_files(copy)
    Agent.load(tmp_path / "run")
    shutil.rmtree(next(copy.rglob("*GoalEmbedding*")))
    with pytest.raises(CheckpointError, match=r"GoalEmbedding/.* is missing.*Copy the run's"):
        Agent.load(tmp_path / "run")


def pipelines(path):
    """Restore a policy as RLlib's documentation does."""
    runner = Path(path) / "env_runner"
    return (
        EnvToModulePipeline.from_checkpoint(runner / "env_to_module_connector"),
        RLModule.from_checkpoint(
            Path(path) / "learner_group" / "learner" / "rl_module" / "default_policy"
        ),
        ModuleToEnvPipeline.from_checkpoint(runner / "module_to_env_connector"),
    )


@pytest.mark.parametrize("env", [NotedFilmed, NotedPainted])
def test_rllibs_own_way_works(env, trained, request):
    path, episodes = trained(env=env)
    request.getfixturevalue("no_pool")
    request.getfixturevalue("no_clip")
    before, module, behind = pipelines(path)
    for recorded in episodes:
        seen = list(shown(recorded))
        infos = [{"goal": seen[0][1]}] if env is NotedFilmed else None
        episode = SingleAgentEpisode(
            observations=[seen[0][0]],
            infos=infos,
            observation_space=env.observation_space,
            action_space=env.action_space,
        )
        for t in range(len(recorded)):
            shared = {}
            given = {"episodes": [episode], "rl_module": module, "shared_data": shared}
            out = module.forward_inference(before(explore=False, **given))
            out = behind(batch=out, explore=False, **given)
            action = out.pop("actions")[0]
            assert action == recorded.get_infos(t + 1)["taken"]
            extra = {name: values[0] for name, values in out.items()}
            episode.add_env_step(seen[t + 1][0], action, 0.0, extra_model_outputs=extra)


def test_an_episode_that_names_no_goal_says_what_to_do(trained):
    before, module, _ = pipelines(trained()[0])
    episode = SingleAgentEpisode(observations=[BANK[0]], observation_space=Filmed.observation_space)
    given = {"episodes": [episode], "rl_module": module, "explore": False}
    with pytest.raises(GoalError, match=r"custom_data\['goal_text'\] = TEXT.*'a red wall'"):
        before(**given)
    episode.custom_data["goal_text"] = "a pink wall"
    before(**given)


def test_a_reward_that_is_inert_is_an_error_in_an_env_runner(trained, vlm_config):
    from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

    before, module, _ = pipelines(trained()[0])
    episode = SingleAgentEpisode(
        observations=[BANK[0]] * 2,
        infos=[{"goal": GOALS[0]}] * 2,
        actions=[0],
        rewards=[0.0],
        len_lookback_buffer=0,
    )
    given = {"episodes": [episode], "rl_module": module, "explore": False}
    with pytest.raises(PoolError, match="without metrics="):
        before(metrics=MetricsLogger(root=True), **given)


def test_a_restored_pipeline_can_be_saved_again(trained, tmp_path):
    before, *_ = pipelines(trained(normalize_rewards=True)[0])
    embedding = find_piece(before, GoalEmbedding)
    embedding.embed("a pink wall")
    # Without its state, RLlib 2.60 asks for that of pieces which have none.
    before.save_to_path(tmp_path / "again", state=before.get_state())
    again = EnvToModulePipeline.from_checkpoint(tmp_path / "again")
    states = [find_piece(each, VLMReward).get_state() for each in (before, again)]
    assert states[0] == states[1]
    assert {"monitor", "moments", "encoder"} <= states[0].keys()
    assert states[0]["encoder"] is not None
    assert states[0]["moments"]["None"]
    kept = find_piece(again, GoalEmbedding)
    assert kept._fingerprint == states[0]["encoder"]
    assert set(kept._embeddings) == {*GOALS, "a pink wall"}


def test_rllibs_own_way_takes_the_frame_of_a_map_in_shared_data(trained):
    path, (recorded, *_) = trained(env=NotedFilmed, frames={"source": "render"}, **MAPPED)
    before, module, _ = pipelines(path)
    (frame, goal), *_ = shown(recorded)

    def see(**shared):
        episode = SingleAgentEpisode(
            id_="mine",
            observations=[np.zeros_like(frame)],
            infos=[{"goal": goal}],
            observation_space=NotedFilmed.observation_space,
            action_space=NotedFilmed.action_space,
        )
        before(episodes=[episode], rl_module=module, explore=False, batch={}, shared_data=shared)
        return episode.get_observations(-1)["map"]

    expected = recorded.get_observations(0)["map"]
    np.testing.assert_allclose(see(frames={"mine": frame}), expected, atol=1e-5)
    with pytest.raises(FrameError, match=r"none to make it from .* shared_data=\{'frames'"):
        see()


def test_no_ray_is_started(trained):
    code = f"""
        import numpy as np, ray
        from rllib_vlm_reward import Agent
        agent = Agent.load({str(trained()[0])!r})
        agent.act(np.zeros((16, 16, 3), np.uint8), "a green wall")
        agent.act(np.zeros((16, 16, 3), np.uint8), "a pink wall")
        assert not ray.is_initialized()
    """
    paths = os.pathsep.join([*sys.path, os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [*fork_server.python(), "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": paths},
        check=True,
        timeout=200,
    )


@pytest.mark.parametrize("local", [True, False])
def test_remote_env_runners_leave_the_same_checkpoint(
    local, vlm_config, shared_pool, tmp_path, request
):
    """The algorithm's own process, which saves, has no env, or not even an env runner."""
    reward = vlm_config(
        goal_embedding=True, frames={"source": "obs"}, serving={"pool_name": shared_pool}
    )
    config = configuration("PPO", NotedFilmed, LSTM, reward)
    config.env_runners(num_env_runners=1, create_local_env_runner=local)
    built = config.build_algo()
    built.train()
    path = built.save_to_path(tmp_path / "checkpoint")
    episodes = built.env_runner_group.foreach_env_runner(
        lambda runner: runner.sample(num_episodes=8, explore=False), local_env_runner=False
    )[0]
    built.stop()
    request.getfixturevalue("no_pool")
    request.getfixturevalue("no_clip")
    assert_same(Agent.load(path), episodes)
