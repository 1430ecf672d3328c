"""Plays a run's env and labels what is seen by ground truth."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.collector import collect_frames, episode_goal
from rllib_vlm_reward.errors import GoalError, LabelError
from rllib_vlm_reward.evaluation.labelled import LabelledFrames, encode
from rllib_vlm_reward.run.experiment import Experiment
from rllib_vlm_reward.run.watched import watch_checkpoint
from rllib_vlm_reward.run.world import make_world

__all__ = ["check_labels", "collect"]

# So that an expert's failures and recoveries are seen too.
DETOURS = 0.2

Report = Callable[[str, int], None]
Seeds = tuple[int, int]  # of the reset, and of the play


def collect(
    experiment: Experiment,
    *,
    players: Sequence[str] | None = None,
    episodes: int = 100,
    seed: int = 0,
    held_out: bool = False,
    report: Report = lambda player, episodes: None,
) -> LabelledFrames:
    """Play episodes of a run's env and return each step's frame with its goal and the truth.

    The frame of step t >= 1 is what CLIP would see after action t (``frame_source``), the goal the
    one that the reset names (``goal_source``), the label ``info[success_key]``. Episodes end where
    the env ends them. Another ``seed`` gives fresh layouts; two players of one seed meet the same.

    Args:
        experiment: the run.
        players: ``random``; ``expert``, the env's ``expert_action()``, of which one action in
            five is random; or the folder of a run, whose checkpoint plays. None takes random, and
            expert where the env has one.
        episodes: of each player.
        seed: of layouts and play.
        held_out: pose the run's ``evaluation_goals`` in turn, by
            ``reset(options={"goal": text})``. Otherwise the env chooses, or the curriculum's goals
            are drawn evenly.
        report: called with a player and how many of its episodes are finished.

    Raises:
        GoalError: the env names none of the run's goals, or there are none held out.
        FrameError: the env gives no frame.
        LabelError: an unknown player, or an env without ground truth.

    Example:
        >>> experiment = Experiment.from_yaml('''
        ... environment: {env: rllib_vlm_reward/Find-v0, env_config: {colors: [red]}}
        ... vlm_reward:
        ...   encoder: small
        ...   goals: ["go to the red {ball|box|key}"]
        ...   frame_source: obs
        ... stop: {env_steps: 1}
        ... ''')
        >>> frames = collect(experiment, players=["expert"], episodes=2)
        >>> frames.frames([0]).shape, int(frames.labels.sum()), frames.episodes[0]
        ((1, 56, 56, 3), 2, 'expert-0-0')
    """
    world = make_world(experiment)
    try:
        play = _Play(world, experiment.vlm_reward, held_out=held_out)
        chosen = [*dict.fromkeys(players)] if players else play.players
        for player in chosen:
            play.check(player)
        parts = []
        for player in chosen:
            report(player, 0)
            if player in play.players:
                for index in range(episodes):
                    parts.append(play.episode(player, seed, index))
                    report(player, index + 1)
            else:
                parts.append(_watched(player, experiment, episodes, seed, held_out=held_out))
                report(player, episodes)
    finally:
        world.close()
    return LabelledFrames.join(parts)


def check_labels(frames: LabelledFrames) -> None:
    """See that something can be judged.

    Raises:
        LabelError: every frame shows its goal, or none does.

    Example:
        >>> black = encode(np.zeros((8, 8, 3), np.uint8))
        >>> check_labels(LabelledFrames.of([black], ["lift"], [False]))
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.LabelError: labelled frames: got 0 successes among 1 frames, \
expected some of both. Play more episodes, or with other players: an expert, a checkpoint.
    """
    successes = int(frames.labels.sum())
    if successes in (0, len(frames)):
        raise LabelError(
            f"labelled frames: got {successes} successes among {len(frames)} frames, expected "
            "some of both. Play more episodes, or with other players: an expert, a checkpoint."
        )


class _Play:
    """Plays episodes in one env.

    Args:
        world: see :func:`make_world`.
        config: the run's reward.
        held_out: pose the held-out goals.
    """

    def __init__(self, world: Any, config: VLMRewardConfig, *, held_out: bool) -> None:
        self._world, self._env, self._config = world, world.envs[0], config
        told = config.goal_set.texts
        self._posed = told[len(config.training_goals) :] if held_out else ()
        if held_out and not self._posed:
            raise GoalError("held out: the run has no evaluation_goals. Give it some.")
        self._acts: dict[str, Callable[[np.random.Generator], Any]] = {"random": self._random}
        if self._env.has_wrapper_attr("expert_action"):
            self._advise = self._env.get_wrapper_attr("expert_action")
            self._acts["expert"] = self._expert
        tells = self._env.has_wrapper_attr("steps_to_go")
        self._to_go = self._env.get_wrapper_attr("steps_to_go") if tells else lambda: None

    @property
    def players(self) -> list[str]:
        """Those that need no checkpoint."""
        return list(self._acts)

    def check(self, player: str) -> None:
        """Refuse a player that cannot play."""
        if player in self._acts or Path(player, "checkpoint").is_dir():
            return
        if player == "expert":
            raise LabelError(
                "player 'expert': the env has no method expert_action(), expected one that returns "
                "the expert's action in the present state. Add it, or choose other players."
            )
        raise LabelError(
            f"player {player!r}: got no folder of a run with checkpoint/, expected one, or one of "
            f"{self.players}."
        )

    def episode(self, player: str, seed: int, index: int) -> LabelledFrames:
        """Play one episode."""
        reset_seed, play_seed = _seeds(seed, index)
        goal = self._reset(reset_seed, index)
        self._env.action_space.seed(play_seed)
        rng = np.random.default_rng(play_seed)
        images, labels, to_go, done = [], [], [], False
        while not done:
            action = self._acts[player](rng)
            observation, _, terminated, truncated, info = self._env.step(action)
            source = self._config.frame_source
            (frame,) = collect_frames(source, self._world, [0], [observation], [info])
            images.append(encode(frame))
            labels.append(_label(info, self._config.success_key))
            to_go.append(self._to_go())
            done = terminated or truncated
        return LabelledFrames.of(
            images,
            [goal] * len(images),
            labels,
            episodes=[f"{player}-{seed}-{index}"] * len(images),
            steps=range(1, len(images) + 1),
            steps_to_go=to_go,
            player=player,
        )

    def _reset(self, seed: int, index: int) -> str:
        asked = self._posed[index % len(self._posed)] if self._posed else None
        options = None if asked is None else {"goal": asked}
        observation, info = self._env.reset(seed=seed, options=options)
        goals = self._config.goal_set
        told = goals[episode_goal(self._config, observation, info, evaluation=True)].text
        if asked not in (None, told):
            raise GoalError(
                f"goal {asked!r}: the env chose its own, {told!r}. Let it honour "
                "reset(options={'goal': ...}), or collect without held-out goals."
            )
        return told

    def _random(self, rng: np.random.Generator) -> Any:
        return self._env.action_space.sample()

    def _expert(self, rng: np.random.Generator) -> Any:
        advice = self._advise()  # At each step, as an expert may keep track of them.
        return self._random(rng) if rng.random() < DETOURS else advice


def _seeds(seed: int, index: int) -> Seeds:
    reset, play = np.random.SeedSequence((seed, index)).generate_state(2) >> 1
    return int(reset), int(play)


def _label(info: Mapping[str, Any], key: str) -> bool:
    if key not in info:
        raise LabelError(
            f"success_key {key!r}: the env's step gave the info keys {sorted(info)}, expected "
            f"ground truth under {key!r}, a bool at every step. Put it there, name another "
            "success_key, or label a folder of images: rllib-vlm-reward collect --folder."
        )
    return bool(info[key])


def _watched(
    player: str, experiment: Experiment, episodes: int, seed: int, *, held_out: bool
) -> LabelledFrames:
    moments = watch_checkpoint(
        Path(player),
        experiment.environment,
        episodes=episodes,
        seed=_seeds(seed, 0)[0],
        held_out=held_out,
    )
    numbers = {name: n for n, name in enumerate(dict.fromkeys(it.episode for it in moments))}
    return LabelledFrames.of(
        [encode(moment.frame) for moment in moments],
        [moment.goal for moment in moments],
        [_label(moment.info, experiment.vlm_reward.success_key) for moment in moments],
        episodes=[f"{player}-{seed}-{numbers[moment.episode]}" for moment in moments],
        steps=[moment.t for moment in moments],
        steps_to_go=[moment.info.get("steps_to_go") for moment in moments],
        player=player,
    )
