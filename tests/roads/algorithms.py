"""Small configurations of every algorithm, whose learner is local and seen by a witness."""

import recount
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from replayed import draws

GAMMA = 0.9


def ppo(agents):
    # Two fragments of 4 envs and 17 steps.
    config = PPOConfig().training(train_batch_size_per_learner=136, minibatch_size=136)
    return config.training(num_epochs=1).learners(learner_connector=recount.witness)


def appo(agents):
    return _asynchronous(APPOConfig())


def impala(agents):
    return _asynchronous(IMPALAConfig())


def dqn(agents):
    return _replayed(DQNConfig(), agents, prioritized=False, n_step=1)


def dqn_3_step(agents):
    return _replayed(DQNConfig(), agents, prioritized=True, n_step=3)


def sac(agents):
    return _replayed(SACConfig(), agents, prioritized=True, n_step=1)


def sac_box(agents):
    return _replayed(SACConfig(), agents, prioritized=False, n_step=1)


# By name; the policies of the last act in a Box.
ALGORITHMS = {
    "PPO": ppo,
    "APPO": appo,
    "IMPALA": impala,
    "DQN": dqn,
    "DQN, 3 steps, prioritised": dqn_3_step,
    "SAC, prioritised": sac,
    "SAC, continuous": sac_box,
}

ON_POLICY = ("PPO", "APPO", "IMPALA")


def _asynchronous(config):
    config.training(train_batch_size_per_learner=60)
    # Without aggregation actors, which would run the learner connectors out of sight.
    return config.learners(
        num_learners=0, num_aggregator_actors_per_learner=0, learner_connector=recount.witness
    )


def _replayed(config, agents, prioritized, n_step):
    kind = ("MultiAgent" if agents == "several" else "") + ("Prioritized" if prioritized else "")
    buffer = {"type": f"{kind}EpisodeReplayBuffer", "capacity": 100_000}
    if prioritized:
        buffer |= {"alpha": 0.6, "beta": 0.4}
    return config.training(
        gamma=GAMMA,
        n_step=n_step,
        replay_buffer_config=buffer,
        num_steps_sampled_before_learning_starts=100,
        train_batch_size_per_learner=32,
    ).learners(learner_connector=draws)
