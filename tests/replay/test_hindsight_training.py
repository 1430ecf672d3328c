"""Copies of episodes in training, with real actors, recounted from the frames in another way."""

import numpy as np
import pytest
import recount
from painted import GOALS
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.connectors.connector_v2 import ConnectorV2
from seen import SeenBox, SeenEnv, columns

from rllib_vlm_reward.plugin import add_vlm_reward
from rllib_vlm_reward.reward_model.clip import CLIPEncoder

GAMMA = 0.9


class Draws(ConnectorV2):
    """A learner connector that keeps what was drawn for the learner, which must be local."""

    drawn = []  # noqa: RUF012

    def __call__(self, *, rl_module, batch, episodes, **kwargs):
        every = self.single_agent_episode_iterator(episodes, agents_that_stepped_only=False)
        self.drawn += every
        return batch


def draws(observation_space, action_space):
    return Draws(observation_space, action_space)


def replayed(config, prioritized, n_step, fragment, num_env_runners=0, env=SeenEnv):
    Draws.drawn.clear()
    kind = "Prioritized" if prioritized else ""
    return (
        config.environment(env)
        .env_runners(
            num_env_runners=num_env_runners,
            num_envs_per_env_runner=4,
            rollout_fragment_length=fragment,
        )
        .training(
            gamma=GAMMA,
            n_step=n_step,
            replay_buffer_config={"type": f"{kind}EpisodeReplayBuffer", "capacity": 100_000},
            num_steps_sampled_before_learning_starts=200,
            train_batch_size_per_learner=64,
            training_intensity=0.5,
        )
        .learners(learner_connector=draws)
        .rl_module(model_config={"hidden": 8, "channels": 4})
        .reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=400)
    )


def reward(vlm_config, pool, **changes):
    """A reward whose threshold some frames exceed for each goal; and the scores it rests on."""
    vlm = vlm_config(head="cosine", serving={"pool_name": pool})
    given = {"threshold": recount.quiet_threshold(vlm, 0.32, 0.35), "hindsight": 2, **changes}
    return vlm.model_copy(update=given), recount.score_table(vlm)


def seen_in(episode):
    return columns([episode.get_observations(t)["observation"] for t in range(len(episode) + 1)])


def expected_copies(episode, holds):
    """Return the copies of a whole episode: the length by the goal, found frame by frame."""
    _, _, _, frames, (own, *_) = seen_in(episode)
    found = {}
    for goal in range(len(GOALS)):
        steps = [step for step, frame in enumerate(frames) if holds[goal, frame]]
        if goal != own and steps and steps[0] > 0:
            found[goal] = steps[0]
    return found


def embedding_table(vlm):
    encoder = CLIPEncoder.load(vlm.encoder, precision="fp32")
    return encoder.encode_texts(list(GOALS)).numpy()


def check_buffer(buffer, vlm, scores):
    """Recount all that a buffer holds; return how many copies of how many ended episodes."""
    holds = scores > vlm.threshold
    originals, copies = {}, {}
    for episode in buffer.episodes:
        (copies if "/" in episode.id_ else originals)[episode.id_] = episode
    wanted, ended = {}, 0
    for episode in originals.values():
        if episode.is_done:
            ended += 1
            found = expected_copies(episode, holds)
            wanted |= {f"{episode.id_}/{goal}": steps for goal, steps in found.items()}
    assert {id_: len(copy) for id_, copy in copies.items()} == wanted
    embeddings = embedding_table(vlm)
    for id_, copy in copies.items():
        name, goal = id_.split("/")
        original, steps = originals[name], len(copy)
        assert copy.t_started == 0
        assert copy.is_terminated
        assert not copy.is_truncated
        assert [*copy.get_rewards()] == [0.0] * (steps - 1) + [1.0]
        np.testing.assert_array_equal(seen_in(copy), seen_in(original)[:, : steps + 1])
        np.testing.assert_array_equal(copy.get_actions(), original.get_actions(slice(0, steps)))
        shown = np.stack([copy.get_observations(t)["goal"] for t in range(steps + 1)])
        np.testing.assert_allclose(shown, embeddings[[int(goal)] * (steps + 1)], atol=1e-6)
        before = original.get_observations(0)["goal"]
        assert np.abs(before - embeddings[int(goal)]).max() > 1e-3
    for episode in originals.values():  # whose own rewards are as without hindsight
        *_, frames, goals = seen_in(episode)
        expected = holds[goals[1:], frames[1:]].astype(np.float32)
        np.testing.assert_array_equal(episode.get_rewards(), expected)
    return len(copies), ended


def check_draws(buffer, n_step):
    """Recount what was drawn, by the frames at its ends; return how many are of copies."""
    known = {}
    for episode in buffer.episodes:
        shown = episode.get_observations(0)["goal"].tobytes()
        env, number, *_ = seen_in(episode)[:, 0]
        known[env, number, shown] = episode
    of_copies = 0
    for drawn in Draws.drawn:
        first, last = drawn.get_observations(0), drawn.get_observations(-1)
        (env, env_too), (number, _), (t, end), *_ = columns(
            [first["observation"], last["observation"]]
        )
        assert env == env_too
        assert end - t <= n_step
        assert first["goal"].tobytes() == last["goal"].tobytes()
        episode = known[env, number, first["goal"].tobytes()]
        rewards = episode.get_rewards(slice(t, end))
        expected = sum(GAMMA**k * reward for k, reward in enumerate(rewards))
        assert drawn.get_rewards(0) == pytest.approx(expected, abs=1e-6)
        at_end = end == len(episode)
        assert bool(drawn.is_terminated) == (at_end and bool(episode.is_terminated))
        of_copies += "/" in episode.id_
    return of_copies


@pytest.mark.parametrize(
    ("config", "env", "mode", "prioritized", "n_step", "fragment", "runners"),
    [
        (DQNConfig, SeenEnv, "deferred", True, 3, 7, 2),
        (SACConfig, SeenEnv, "deferred", False, 1, 1, 0),
        (SACConfig, SeenBox, "synchronous", True, 1, 7, 0),
    ],
    ids=["DQN 3 steps", "SAC", "SAC continuous"],
)
def test_every_copy_is_that_of_a_recount(
    config, env, mode, prioritized, n_step, fragment, runners, vlm_config, shared_pool
):
    vlm, scores = reward(vlm_config, shared_pool, mode=mode)
    settings = replayed(config(), prioritized, n_step, fragment, runners, env)
    algorithm = add_vlm_reward(settings, vlm).build_algo()
    try:
        reported = [algorithm.train()["env_runners"]["vlm_reward"]["hindsight"] for _ in range(3)]
        buffer = algorithm.local_replay_buffer
    finally:
        algorithm.stop()
    copies, ended = check_buffer(buffer, vlm, scores)
    assert copies > 20
    assert check_draws(buffer, n_step) > 20
    assert {"goals_by_chance", "copies_per_episode"} < reported[-1].keys()
    assert reported[-1]["goals_reached"] == 3
    means = [each["copies_per_episode"] for each in reported]
    assert min(means) <= copies / ended <= max(means)


def test_a_restored_algorithm_makes_copies_too(vlm_config, shared_pool, tmp_path):
    vlm, scores = reward(vlm_config, shared_pool)
    settings = replayed(SACConfig(), prioritized=True, n_step=1, fragment=8)
    algorithm = add_vlm_reward(settings, vlm).build_algo()
    path = algorithm.save_to_path(tmp_path / "checkpoint")
    algorithm.stop()
    restored = Algorithm.from_checkpoint(str(path))
    try:
        restored.train()
        buffer = restored.local_replay_buffer
    finally:
        restored.stop()
    copies, _ = check_buffer(buffer, vlm, scores)
    assert copies > 5
