"""Plays a run's env and labels the frames by ground truth."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.episode_metrics import success_of
from rllib_vlm_reward.errors import FrameError, GoalError, LabelError
from rllib_vlm_reward.evaluation.images import encode, size_of
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.players import Act, PlayedEnv
from rllib_vlm_reward.run.experiment import Experiment
from rllib_vlm_reward.run.recorded_rollout import record_rollout

__all__ = ["collect"]

# The share of random actions, so that an expert's failures and recoveries are seen too.
DETOURS = 0.2

Report = Callable[[str, int], None]
Seeds = tuple[int, int]  # one for the reset, one for random actions


def collect(
    experiment: Experiment,
    *,
    players: Sequence[str] | None = None,
    episodes: int = 100,
    seed: int = 0,
    held_out: bool = False,
    report: Report = lambda player, episodes: None,
) -> LabelledFrames:
    """Play episodes of a run's env and return each step's frame with goal and ground truth.

    The frame of step t >= 1 is the one that CLIP would score after action t (``frames.source``),
    the goal is the one that the reset names (``goal_source``), and the label is
    ``info[success_key]``. The env decides when an episode ends. Another ``seed`` gives new layouts;
    with the same seed, all players get the same layouts.

    Args:
        experiment: the run.
        players: ``random``; ``expert``, the env's ``expert_action()`` with one action in five
            replaced by a random one; or the folder of a run, whose checkpoint plays. None takes
            random, and expert where the env has one.
        episodes: number of episodes of each player.
        seed: seed of layouts and random actions.
        held_out: request the run's ``evaluation_goals`` in turn, by
            ``reset(options={"goal": text})``. Otherwise the env chooses, or the goals of the
            curriculum are drawn uniformly.
        report: called with a player and the number of that player's finished episodes.

    Raises:
        GoalError: the env names no goal of the run, or ``held_out`` is set and the run holds out
            no goals.
        FrameError: the env gives no frame, or frames of several sizes.
        LabelError: a player is unknown, or the env reports no ground truth.

    Example:
        >>> experiment = Experiment.from_yaml('''
        ... environment: {env: rllib_vlm_reward/Find-v0, env_config: {colors: [red]}}
        ... vlm_reward:
        ...   encoder: small
        ...   goals: ["go to the red {ball|box|key}"]
        ...   frames: {source: obs}
        ... stop: {env_steps: 1}
        ... ''')
        >>> frames = collect(experiment, players=["expert"], episodes=2)
        >>> frames.frames([0]).shape, int(frames.labels.sum()), frames.episodes[0]
        ((1, 56, 56, 3), 2, 'expert-0-0')
    """
    config, parts = experiment.vlm_reward, []
    with PlayedEnv(experiment) as played:
        requests = _goals_to_request(config, held_out=held_out)
        chosen = [*dict.fromkeys(players or played.acts)]
        for player in chosen:
            _check(played, player)
        for player in chosen:
            report(player, 0)
            if player not in played.acts:
                parts.append(_play_run(player, experiment, episodes, seed, held_out=held_out))
                _check_size(parts)
                report(player, episodes)
                continue
            for index in range(episodes):
                goal = requests[index % len(requests)]
                parts.append(_episode(played, player, seed, index, goal, config.success_key))
                _check_size(parts)
                report(player, index + 1)
    return LabelledFrames.join(parts)


def _goals_to_request(config: VLMRewardConfig, *, held_out: bool) -> Sequence[str | None]:
    """Return the goals to request in turn; None leaves the choice to the env."""
    if not held_out:
        return (None,)
    texts = config.goal_set.texts[len(config.training_goals) :]
    if not texts:
        raise GoalError(
            "held out: the run has no evaluation_goals, expected some. Add them to vlm_reward, "
            "or leave --held-out out."
        )
    return texts


def _check(played: PlayedEnv, player: str) -> None:
    if not Path(player, "checkpoint").is_dir():
        played.act(player)


def _episode(
    played: PlayedEnv, player: str, seed: int, index: int, request: str | None, key: str
) -> LabelledFrames:
    """Play one episode; ``key`` is the info key of success."""
    reset_seed, play_seed = _seeds(seed, index)
    goal = played.reset(seed=reset_seed, goal=request)
    images, labels, to_go = [], [], []
    for frame, info in played.play(_act(played, player, play_seed), seed=play_seed):
        images.append(encode(frame))
        labels.append(_label(info, key))
        to_go.append(played.steps_to_go())
    return LabelledFrames.of(
        images,
        [goal] * len(images),
        labels,
        episodes=[f"{player}-{seed}-{index}"] * len(images),
        steps=range(1, len(images) + 1),
        steps_to_go=to_go,
        player=player,
    )


def _check_size(parts: Sequence[LabelledFrames]) -> None:
    """Check that the last part's frames have the size of the first frame of all."""
    last, expected = parts[-1], size_of(parts[0].images[0])
    for image, episode, step in zip(last.images, last.episodes, last.steps, strict=True):
        if size_of(image) != expected:
            raise FrameError(
                f"episode {episode}, step {step}: got a frame of {size_of(image)} pixels (width, "
                f"height), expected {expected} as in the first one. Let the env give one size."
            )


def _act(played: PlayedEnv, player: str, seed: int) -> Act:
    if player != "expert":
        return played.act(player)
    rng, expert, wander = np.random.default_rng(seed), played.act(player), played.act("random")

    def act() -> Any:
        action = expert()  # called at every step, since an expert may count the steps
        return wander() if rng.random() < DETOURS else action

    return act


def _seeds(seed: int, index: int) -> Seeds:
    reset, play = np.random.SeedSequence((seed, index)).generate_state(2) >> 1
    return int(reset), int(play)


def _label(info: Mapping[str, Any], key: str) -> bool:
    success = success_of(info, key)
    if success is None:
        raise LabelError(
            f"success_key {key!r}: the env's step returned the info keys {sorted(info)}, expected "
            f"ground truth under {key!r}, a bool at every step. Add it, set another success_key, "
            "or label a folder of images: rllib-vlm-reward collect --folder."
        )
    return success


def _play_run(
    player: str, experiment: Experiment, episodes: int, seed: int, *, held_out: bool
) -> LabelledFrames:
    moments = record_rollout(
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
