"""What the YAML of several agents names by import path."""

from painted import PaintedEnv
from painted_agents import PaintedAgents
from ray.rllib.callbacks.callbacks import RLlibCallback

EVENTS = []


class ReportingAgents(PaintedAgents):
    """a0 reports success where its episode has an even length.

    Args:
        config: with ``remembers`` the lengths of all agents' episodes are kept in ``played``.
    """

    played = []  # noqa: RUF012

    def __init__(self, config):
        super().__init__(config)
        self.remembers = config.get("remembers", False)

    def step(self, actions):
        observations, rewards, terminateds, truncateds, infos = super().step(actions)
        if "a0" in infos:
            over = self.t["a0"] == self.length["a0"]
            infos["a0"]["success"] = over and self.length["a0"] % 2 == 0
        if self.remembers and terminateds["__all__"]:
            self.played.append(dict(self.length))
        return observations, rewards, terminateds, truncateds, infos


def policy_of(agent, episode, **kwargs):
    return "first" if agent == "a0" else "others"


class Counting(RLlibCallback):
    def on_algorithm_init(self, **kwargs):
        EVENTS.append("algorithm")


def note_episode(**kwargs):
    EVENTS.append("episode")


def make_painted(config):
    return PaintedEnv({**config, "made": True})


NOT_AN_ENV = 7
