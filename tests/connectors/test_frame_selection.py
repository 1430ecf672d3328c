import numpy as np
import pytest
from gymnasium.wrappers.utils import RunningMeanStd
from painted import BANK, PaintedEnv
from red_pool import red_score

from rllib_vlm_reward.connectors.pipeline import reward_piece
from rllib_vlm_reward.monitoring.scored_steps import Recorder

BOTH = pytest.mark.parametrize("mode", ["synchronous", "deferred"])


class StillEnv(PaintedEnv):
    """Shows the frame of the step before in two steps of three."""

    def _show(self):
        before = getattr(self, "frame", None)
        observation, info = super()._show()
        if before is not None and self.t % 3:
            self.frame = observation[3] = before
        return observation, info


def whole_episodes(runner, samples):
    """Return each episode's chunks in order, of those that began and ended in the samples."""
    chunks = {}
    for episode in (episode for _ in range(samples) for episode in runner.sample()):
        chunks.setdefault(episode.id_, []).append(episode)
    return [c for c in chunks.values() if c[0].t_started == 0 and c[-1].is_done]


def rewards_and_scores(chunks):
    """Return the rewards of an episode, and every frame's score: float32 [T] both."""
    observations = np.concatenate([np.array(c.get_observations())[1:] for c in chunks]).astype(int)
    rewards = np.concatenate([np.array(c.get_rewards(), np.float32) for c in chunks])
    return rewards, red_score(BANK[observations[:, 3]], observations[:, 4])


def expected(scores, vlm):
    """Recount an episode in a loop: which steps are scored, and what their windows pay."""
    window, rewards = [], []
    for t, score in enumerate(scores, start=1):
        last = t == len(scores)
        if vlm.frames.scored_steps == "last":
            scored = last
        elif isinstance(vlm.frames.scored_steps, int):
            scored = last or t % vlm.frames.scored_steps == 0
        else:
            scored = True
        window = [*window, score][-vlm.frames.window :] if scored else window
        value = max(window) if vlm.frames.reduce == "max" and window else np.mean(window or [0])
        if vlm.threshold is not None:
            value = value > vlm.threshold
        rewards.append(float(value) if scored else 0.0)
    return rewards


@BOTH
@pytest.mark.parametrize("threshold", [None, 0.9])
@pytest.mark.parametrize(
    "settings",
    [
        {"frames": {"scored_steps": 3}},
        {"frames": {"scored_steps": "last"}},
        {"frames": {"scored_steps": "changed"}},
        {"frames": {"window": 4}},
        {"frames": {"window": 3, "reduce": "max"}},
        {"frames": {"window": 2, "scored_steps": 4}},
        {"frames": {"window": 3, "scored_steps": "changed"}},
    ],
    ids=str,
)
def test_every_step_pays_what_a_recount_says(settings, threshold, mode, vlm_config, env_runner):
    vlm = vlm_config(mode=mode, threshold=threshold, **settings)
    runner = env_runner(vlm, StillEnv, num_envs_per_env_runner=6)
    episodes = whole_episodes(runner, samples=4)
    assert sum(len(chunks) > 1 for chunks in episodes) > 3  # cut by fragments
    for chunks in episodes:
        rewards, scores = rewards_and_scores(chunks)
        assert np.allclose(rewards, expected(scores, vlm), atol=1e-6)


@BOTH
@pytest.mark.parametrize(
    ("scored_steps", "fewest", "most"), [(3, 0.3, 0.5), ("last", 0.0, 0.15), ("changed", 0.3, 0.5)]
)
def test_frames_are_saved(scored_steps, fewest, most, mode, vlm_config, env_runner, red_pool):
    vlm = vlm_config(mode=mode, frames={"scored_steps": scored_steps})
    runner = env_runner(vlm, StillEnv, num_envs_per_env_runner=9)
    steps = sum(len(episode) for _ in range(10) for episode in runner.sample())
    assert fewest < sum(red_pool.batches) / steps < most


def test_nothing_is_rendered_for_a_vector_step_that_is_not_scored(vlm_config, env_runner):
    class CountedEnv(PaintedEnv):
        rendered = 0

        def render(self):
            type(self).rendered += 1
            return super().render()

    runner = env_runner(vlm_config(frames={"scored_steps": "last"}), CountedEnv)
    steps = sum(len(episode) for _ in range(10) for episode in runner.sample())
    assert 0 < CountedEnv.rendered < steps / 2


@BOTH
def test_what_is_kept_of_an_episode_ends_with_it(mode, vlm_config, env_runner):
    runner = env_runner(
        vlm_config(mode=mode, frames={"scored_steps": "changed", "window": 3}), StillEnv
    )
    for _ in range(8):
        runner.sample()
        ongoing = {episode.id_ for episode in runner._ongoing_episodes}
        stream = reward_piece(runner)._streams[None]
        assert set(stream._selection._last_frames) <= ongoing
        assert set(stream._windows._windows) <= ongoing


@pytest.mark.parametrize("weight", [0.0, 0.25])
def test_both_modes_normalise_alike(weight, vlm_config, env_runner, red_pool):
    """By gymnasium's computation over the vector steps in order."""
    for mode in ("synchronous", "deferred"):
        runner = env_runner(
            vlm_config(mode=mode, normalize_rewards=True, env_reward_weight=weight), PaintedEnv
        )
        red_pool.batches.clear()
        recorder = Recorder()
        reward_piece(runner).record(recorder)
        rewards = {}
        for episode in (episode for _ in range(4) for episode in runner.sample()):
            for t, reward in enumerate(episode.get_rewards(), start=episode.t_started + 1):
                rewards[episode.id_, t] = reward
        reference, returns, at = RunningMeanStd(), {}, 0
        for size in red_pool.batches:
            rows, at = recorder.frames[at : at + size], at + size
            for id_, _, _, _, score, _ in rows:
                returns[id_] = 0.99 * returns.get(id_, 0.0) + score
            reference.update(np.array([returns[row[0]] for row in rows]))
            for id_, t, _, _, score, _ in rows:
                expected = score / np.sqrt(reference.var + 1e-8) + weight * -100
                assert rewards[id_, t] == pytest.approx(expected, rel=1e-5)
