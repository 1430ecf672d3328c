"""Classes that a user might name as a curriculum's kind."""

from rllib_vlm_reward.curriculum import Curriculum


class Favourite(Curriculum):
    """Draws mostly one goal, its text being among the settings."""

    def weights(self):
        favourite = self.goals.index(self.config.settings["favourite"])
        return self.explored([float(goal == favourite) for goal in range(len(self.goals))])


class Told(Curriculum):
    """Returns what it was told to."""

    def weights(self):
        return self.config.settings["weights"]


class ToldByAParent(Told):
    """Defines no weights itself."""


class NoCurriculum:
    """Knows no goals."""
