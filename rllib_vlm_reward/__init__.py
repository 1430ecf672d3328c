"""Train RLlib agents from language goals: CLIP rewards served by Ray actors."""

from rllib_vlm_reward.envs.registration import register_envs

register_envs()
