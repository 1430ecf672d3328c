"""The painted world for several agents, each with its own frames, goals and time to end."""

import gymnasium as gym
import numpy as np
from painted import BANK, BANK_SIZE, ENV_REWARD, GOALS
from ray.rllib.env.multi_agent_env import MultiAgentEnv

AGENTS = ("a0", "a1", "a2")


class PaintedAgents(MultiAgentEnv):
    """Each agent's observation is (agent, env, episode, t, frame, goal), t counting its own steps.

    Its frame is in ``info["rgb"]``. Each agent's episode has 3 to 30 steps, odd and even in turn:
    even ones terminate, odd ones are truncated.

    Args:
        config: ``turns``: one agent acts at a time, so the frame that answers an action is shown
            only when the agent's next turn comes. ``silent``: an agent that ends is not shown a
            last observation. ``continuous``: actions are a Box. ``goals``: agent to its goals.
    """

    def __init__(self, config):
        super().__init__()
        self.turns, self.silent = config.get("turns", False), config.get("silent", False)
        self.goals = {**dict.fromkeys(AGENTS, GOALS), **config.get("goals", {})}
        box = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        actions = box if config.get("continuous") else gym.spaces.Discrete(2)
        shown = gym.spaces.Box(-np.inf, np.inf, (6,), np.float32)
        self.agents = self.possible_agents = list(AGENTS)
        self.observation_spaces = dict.fromkeys(AGENTS, shown)
        self.action_spaces = dict.fromkeys(AGENTS, actions)
        self.rng = np.random.default_rng()
        self.id = int(self.rng.integers(2**24))
        self.episode = 0

    def reset(self, *, seed=None, options=None):
        self.episode += 1
        self.live = list(AGENTS)
        self.t = dict.fromkeys(AGENTS, 0)
        self.length, self.goal = {}, {}
        for index, agent in enumerate(AGENTS):
            odd = (self.episode + index) % 2
            self.length[agent] = 2 * int(self.rng.integers(2, 16)) - odd
            self.goal[agent] = (self.id + self.episode + index) % len(self.goals[agent])
        return self._show(AGENTS[:1] if self.turns else AGENTS)

    def step(self, actions):
        before = list(self.live)
        over = []
        for agent in actions:
            self.t[agent] += 1
            if self.t[agent] == self.length[agent]:
                over.append(agent)
                self.live.remove(agent)
        shown = [agent for agent in self._next(before, actions) if agent in self.live]
        observations, infos = self._show(shown if self.silent else [*over, *shown])
        odd = {agent: self.length[agent] % 2 == 1 and not self.silent for agent in over}
        return (
            observations,
            dict.fromkeys(actions, ENV_REWARD),
            {agent: not odd[agent] for agent in over} | {"__all__": not self.live},
            odd | {"__all__": False},
            infos,
        )

    def _next(self, before, actions):
        if not self.turns:
            return before
        (acted,) = actions
        place = before.index(acted) + 1
        return (before[place:] + before[:place])[:1]

    def _show(self, agents):
        observations, infos = {}, {}
        for agent in agents:
            frame, goal = int(self.rng.integers(BANK_SIZE)), self.goal[agent]
            row = [AGENTS.index(agent), self.id, self.episode, self.t[agent], frame, goal]
            observations[agent] = np.array(row, np.float32)
            infos[agent] = {"goal": self.goals[agent][goal], "rgb": BANK[frame]}
        return observations, infos
