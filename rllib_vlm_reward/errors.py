"""The package's errors. Each message says what was given, what is expected, and what to do."""

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
    """An alarm found during training that the reward cannot be trusted (``alarms: error``)."""


class GoalError(ValueError):
    """A goal is empty, unknown, repeated, or among its negatives."""


class FrameError(ValueError):
    """A frame is not uint8 RGB ``[H, W, 3]``, or the env provides none."""


class ConfigError(ValueError):
    """A run's settings are invalid, or differ from those of the run that it resumes."""


class CheckpointError(RuntimeError):
    """A model is unknown, or its weights are missing, unsafe to load or of another model."""


class LabelError(ValueError):
    """Labelled frames lack required data, or a calibration was made for another reward."""


class PoolError(RuntimeError):
    """The reward actors cannot be placed, found or reached in time."""


ERRORS = (CheckpointError, ConfigError, FrameError, GoalError, LabelError, PoolError, RewardError)
