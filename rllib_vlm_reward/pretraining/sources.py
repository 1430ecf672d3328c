"""Where a training's frames and captions come from."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.goals import Template
from rllib_vlm_reward.pretraining.captioned import CaptionedFrames
from rllib_vlm_reward.pretraining.recorded_play import play
from rllib_vlm_reward.pretraining.world import World

__all__ = ["EnvSource", "Material", "Request", "Source"]

Report = Callable[[str, int, int], None]
"""Called with a phase, how much of it is done, and how much there is."""


class Request(NamedTuple):
    """What a training asks its source for.

    Attributes:
        num_frames: number of frames to train on.
        held_out_frames: number of frames to score on.
        held_out_things: things that training does not name, nor show if the env can leave them out.
        seed: seed of the frames.
    """

    num_frames: int
    held_out_frames: int
    held_out_things: tuple[str, ...] = ()
    seed: int = 0


class Material(NamedTuple):
    """Frames to train on and frames to score on, from different episodes."""

    train: CaptionedFrames
    held_out: CaptionedFrames


class Source(Protocol):
    """Gives frames with captions.

    Attributes:
        has_boxes: whether it may say where a frame shows things.
    """

    has_boxes: bool

    def material(self, request: Request, work: Path, report: Report) -> Material:
        """Return the frames; what takes long is kept in ``work`` and taken up again there."""
        ...

    def held_out(self, request: Request, work: Path, report: Report) -> CaptionedFrames:
        """Return the frames to score on alone."""
        ...

    def facts(self) -> dict[str, Any]:
        """Return what the source is, for ``metrics.json`` and the model card: JSON values.

        The card uses ``name``, what the frames are of; ``options``, those of ``train-clip``; and
        ``data``, sentences about the frames.
        """
        ...

    def templates(self) -> Mapping[str, Template]:
        """Return the templates from goals to statements, by family; none if there are none."""
        ...


class EnvSource:
    """Play of an env that brings captions.

    Args:
        env: see :class:`.World`.
        env_config: see :class:`.World`.

    Raises:
        ConfigError: see :class:`.World`.

    Example:
        >>> source = EnvSource("rllib_vlm_reward/Rooms-v0")
        >>> source.facts()["options"], sorted(source.templates())
        ('--env rllib_vlm_reward/Rooms-v0', ['find', 'lift', 'place'])
    """

    def __init__(self, env: str, env_config: Mapping[str, Any] | None = None) -> None:
        self._env, self._env_config = env, dict(env_config or {})
        self._world = World(env, self._env_config)
        self.has_boxes = self._world.has_boxes

    def material(self, request: Request, work: Path, report: Report) -> Material:
        """Play layouts to train on, and others to score on."""
        world = self._without(request.held_out_things)
        train = self._play(world, request.num_frames, work / "train", request.seed, report, "play")
        return Material(train, self.held_out(request, work, report))

    def held_out(self, request: Request, work: Path, report: Report) -> CaptionedFrames:
        """Play layouts that no training plays."""
        folder, number = work / "held_out", request.held_out_frames
        phase = "play held-out layouts"
        return self._play(self._world, number, folder, request.seed, report, phase)

    def facts(self) -> dict[str, Any]:
        """Return the env and its settings, and the words of the model card."""
        config = json.dumps(self._env_config) if self._env_config else ""
        return {
            "env": self._env,
            "env_config": self._env_config,
            "name": f"`{self._env}`",
            "options": f"--env {self._env}" + (f" --env-config '{config}'" if config else ""),
            "data": (
                f"Frames of `{self._env}`{f' with {config}' if config else ''}, played at random "
                "and, if the env has one, by its expert with random actions in between. The env "
                "says which statements hold."
            ),
        }

    def templates(self) -> Mapping[str, Template]:
        """Return the env's ``templates``."""
        return self._world.templates

    def _without(self, things: tuple[str, ...]) -> World:
        """Return the world without some things, if the env has the setting ``reserved``."""
        if not things:
            return self._world
        try:
            return World(self._env, {**self._env_config, "reserved": list(things)})
        except ConfigError:
            # The env has no such setting: the training leaves out the frames that mention them.
            return self._world

    @staticmethod
    def _play(
        world: World, number: int, folder: Path, seed: int, report: Report, phase: str
    ) -> CaptionedFrames:
        report(phase, 0, number)
        return play(
            world,
            number,
            folder,
            seed=seed,
            held_out=folder.name == "held_out",
            report=lambda done: report(phase, done, number),
        )
