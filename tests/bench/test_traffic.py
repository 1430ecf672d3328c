"""A client sends what an env runner sends: every frame once, none twice."""

import numpy as np
import pytest

from rllib_vlm_reward.bench.traffic import Client, Driven, StandInEnv, rate
from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.reward_model.heads import Softmax

# What a run may have, and a client must not heed: it names the goals, and every frame is scored.
CONFIG = VLMRewardConfig(
    encoder="small",
    goals=["a {red|blue} ball"],
    threshold=0.5,
    mode="synchronous",
    early_end=True,
    goal_source="obs:mission",
    frames={"scored_steps": "changed", "source": "obs"},
)
SHAPE = (6, 8)


class Connection:
    """Remembers each frame's bytes, and how many requests were under way at once."""

    def __init__(self):
        self.frames, self.sizes, self.under_way, self.most = [], [], 0, 0

    def submit(self, frames, goals, scorer, *, checked=False):
        frames = np.asarray(frames)
        assert frames.dtype == np.uint8
        assert len(frames) == len(goals)
        self.frames += [frame.tobytes() for frame in frames]
        self.sizes.append(len(frames))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        return self

    def ask(self, views, goals, rater):
        (frames,) = views
        return self.submit(frames, goals, rater, checked=True)

    def result(self):
        self.under_way -= 1
        return np.random.default_rng().random(self.sizes[0], np.float32)


@pytest.fixture
def connection():
    return Connection()


@pytest.fixture
def client(connection):
    return Client(CONFIG, {"connection": lambda: connection}, num_envs=3, shape=SHAPE, seed=1)


def test_the_connectors_way_scores_every_frame_once(client, connection):
    driven = client.drive("connection", 0.02, 16)
    assert driven.frames == len(connection.frames) == len(set(connection.frames)) > 0
    assert driven.frames % (16 * 3) == 0  # whole fragments
    assert set(connection.sizes) == {3}
    assert connection.under_way == 0
    assert len(connection.frames[0]) == 6 * 8 * 3


def test_a_calibration_for_frames_from_elsewhere_does_not_stop_it(connection):
    figure = {"value": 0.5, "low": 0.4, "high": 0.6}
    config = CONFIG.model_copy(update={"threshold": None, "early_end": False})
    calibration = {
        **{"version": 2, "encoder": "small", "weights": "a" * 64, "encoder_precision": "fp32"},
        **{"frame_source": "obs", "head": "softmax", "head_sha256": Softmax(0.02).digest()},
        **{"temperature": 0.02, "goals": config.goal_set.texts, "target": {"precision": 0.9}},
        "statements": config.goal_set.statements,
        "goals_sha256": config.goal_set.fingerprint,
        **dict.fromkeys(("threshold", "precision", "recall", "false_positives"), figure),
        **dict.fromkeys(("frames", "successes", "episodes"), 1),
    }
    config = config.model_copy(update={"calibration": calibration})
    client = Client(config, {"connection": lambda: connection}, num_envs=3, shape=SHAPE, seed=1)
    assert client.drive("connection", 0.01, 4).frames == len(connection.frames)
    assert client._config.scorer == config.scorer


def test_requests_keep_to_what_may_be_under_way(client, connection):
    driven = client.request("connection", 0.02, 2)
    assert driven.frames == len(connection.frames) == len(set(connection.frames))
    assert len(driven.latencies) == len(connection.sizes)
    assert connection.most == 2
    assert connection.under_way == 0


def test_frames_differ_between_steps_and_between_clients():
    seen = set()
    for seed in (0, 1):
        env = StandInEnv(2, SHAPE, seed)
        for _ in range(100):  # more than were made beforehand
            seen |= {frame.tobytes() for frame in env.render()}
    assert len(seen) == 2 * 100 * 2


def test_a_rate_counts_until_the_last_client_is_done():
    assert rate([Driven(100, 1.0, 0.0, []), Driven(300, 2.0, 0.0, [])]) == 200
