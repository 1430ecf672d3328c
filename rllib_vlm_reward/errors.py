"""The errors a wrong reward raises: each says what, got, expected and the remedy."""

__all__ = [
    "ERRORS",
    "AlarmError",
    "CheckpointError",
    "ConfigError",
    "FrameError",
    "GoalError",
    "LabelError",
    "PoolError",
    "RewardError",
]


class RewardError(RuntimeError):
    """A reward cannot be trusted: constant or non-finite scores, or a setting that forbids it."""


class AlarmError(RewardError):
    """A reward that trained so far is not to be trusted, and ``alarms: error`` stops for it."""


class GoalError(ValueError):
    """A goal is empty, unknown, repeated, or among its own negatives."""


class FrameError(ValueError):
    """A frame is not uint8 RGB ``[H, W, 3]``, or the env gives none."""


class ConfigError(ValueError):
    """A run's settings are no mapping, unknown to RLlib, or differ from those it resumes."""


class CheckpointError(RuntimeError):
    """A model is unknown, or its weights are missing, foreign or unsafe to load."""


class LabelError(ValueError):
    """Labelled frames lack what is asked of them, or a calibration is of another reward."""


class PoolError(RuntimeError):
    """The reward actors cannot be placed, found or reached in time."""


ERRORS = (CheckpointError, ConfigError, FrameError, GoalError, LabelError, PoolError, RewardError)
