"""Trains, saves, evaluates: one run from its YAML to its summary."""

import contextlib
import dataclasses
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm

from rllib_vlm_reward.connectors.callbacks import callbacks_of
from rllib_vlm_reward.connectors.watch import RewardWatch
from rllib_vlm_reward.errors import AlarmError
from rllib_vlm_reward.run.course import draw_course
from rllib_vlm_reward.run.evaluation import Evaluator
from rllib_vlm_reward.run.experiment import Experiment
from rllib_vlm_reward.run.folder import RunFolder
from rllib_vlm_reward.run.pictures import (
    draw_highlights,
    save_curve,
    save_frames,
    save_video,
    strip,
)
from rllib_vlm_reward.run.progress import Progress, iterate
from rllib_vlm_reward.serving.deployment import joined_cluster

__all__ = ["train"]

VIDEO_EPISODES = 6
# For frames and episodes in flight; Ray's own default is 30 % of the machine's memory.
OBJECT_STORE_BYTES = 512 * 1024**2

Report = Callable[[Progress | str], None]


def train(
    experiment: Experiment,
    output: Path,
    *,
    resume: bool = False,
    report: Report = lambda _: None,
) -> dict[str, Any]:
    """Run an experiment and return its summary.

    Joins the Ray cluster of ``RAY_ADDRESS`` or starts a local one, which ends with the run.

    Args:
        experiment: what to run.
        output: folder of checkpoint, TensorBoard events, ``summary.json``, ``returns.png``,
            ``agent.gif`` and, with a curriculum, ``curriculum.png``.
        resume: go on from the checkpoint in ``output``.
        report: called with the progress of each iteration, and with a line of what is done next.

    Returns:
        What ``summary.json`` holds. Returns and success are means over the evaluation's episodes,
        which do not explore; ``wall_seconds`` are those of the training iterations.
    """
    config = experiment.to_algorithm_config()  # before anything starts, for its errors
    folder = RunFolder(output, experiment, resume=resume)
    with (
        joined_cluster(include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES),
        _exit_at_sigterm(),
    ):
        algorithm = None
        try:
            report("building the algorithm and starting the reward actors")
            checkpoint = str(folder.checkpoint.resolve())
            if resume:
                algorithm = Algorithm.from_checkpoint(checkpoint, config=config)
            else:
                algorithm = config.build_algo()
            _learn(algorithm, experiment, folder, report)
            return _conclude(algorithm, experiment, folder, report)
        finally:
            folder.close()
            if algorithm is not None:
                algorithm.stop()


@contextlib.contextmanager
def _exit_at_sigterm() -> Iterator[None]:
    """Let a scheduler's SIGTERM be saved like Ctrl-C; Ray 2.60's own handler aborts the driver."""
    if threading.current_thread() is not threading.main_thread():
        yield  # which alone may handle signals
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _learn(algorithm: Algorithm, experiment: Experiment, folder: RunFolder, report: Report) -> None:
    stop, history = experiment.stop, folder.history
    if history and stop.is_reached(history[-1]):
        report("the run is complete: it is evaluated again")
        return
    evaluator = Evaluator(algorithm)
    picture_at = 0
    callbacks_of(algorithm).show_highlights(algorithm)
    try:
        while not (history and stop.is_reached(history[-1])):
            progress, result = iterate(algorithm, history[-1] if history else None)
            folder.log(progress, result)
            _log_watch(folder, callbacks_of(algorithm).watch, progress.env_steps, experiment)
            report(progress)
            if progress.iteration % experiment.checkpoint_every == 0:
                folder.save_checkpoint(algorithm)
            if progress.env_steps >= picture_at:
                picture_at = progress.env_steps + stop.env_steps // 10
                frames = strip(evaluator.watch(1), experiment.vlm_reward.threshold)
                folder.log_frames("episode", frames, progress.env_steps)
                if progress.curriculum is not None:
                    course = draw_course(folder.history)
                    folder.log_frames("curriculum", course, progress.env_steps)
    except AlarmError:
        report("alarm: saving a checkpoint, for --resume")
        # The alarm kept the iteration's own progress back.
        env_steps = folder.history[-1].env_steps if folder.history else 0
        _log_watch(folder, callbacks_of(algorithm).watch, env_steps, experiment)
        folder.save_checkpoint(algorithm)
        raise
    except (KeyboardInterrupt, SystemExit):
        if folder.history:
            report("interrupted: saving a checkpoint")
            folder.save_checkpoint(algorithm)
            last = folder.history[-1]
            report(f"saved after iteration {last.iteration}: --resume goes on")
        else:
            report("interrupted in the first iteration: there is nothing to save")
        raise
    finally:
        evaluator.close()
    folder.save_checkpoint(algorithm)


def _log_watch(
    folder: RunFolder, watch: RewardWatch, env_steps: int, experiment: Experiment
) -> None:
    """Show the iteration's scores in TensorBoard, and the frames that scored highest."""
    for name, counts, low in watch.histograms():
        folder.log_scores(f"scores/{name}", counts, env_steps, low=low)
    if watch.highlights:
        picture = draw_highlights(watch.highlights, experiment.vlm_reward.threshold)
        folder.log_frames("highest scores", picture, env_steps)


def _conclude(
    algorithm: Algorithm, experiment: Experiment, folder: RunFolder, report: Report
) -> dict[str, Any]:
    episodes = experiment.evaluation_episodes
    evaluator = Evaluator(algorithm, episodes=episodes)
    try:
        report(f"evaluating: {episodes} episodes each of the agent, chance and a goal-blind agent")
        trained = evaluator.trained(episodes)
        random, blind = evaluator.random(episodes), evaluator.goal_blind(episodes)
        held_out = evaluator.held_out(episodes)
        held_out_blind = evaluator.goal_blind(episodes, held_out=True)
    finally:
        evaluator.close()
    report("drawing")
    with contextlib.closing(Evaluator(algorithm)) as narrow:  # it keeps every sub-env's frames
        moments = narrow.watch(VIDEO_EPISODES)
    save_video(folder.path / "agent.gif", moments, experiment.vlm_reward.threshold)
    save_curve(folder.path / "returns.png", folder.history, str(experiment.environment["env"]))
    last = folder.history[-1]
    if last.curriculum is not None:
        save_frames(folder.path / "curriculum.png", draw_course(folder.history))
    summary = {
        "env_steps": last.env_steps,
        "wall_seconds": last.wall_seconds,
        "vlm_return_mean": trained.vlm_return,
        "ground_truth_return_mean": trained.ground_truth_return,
        "ground_truth_success": trained.ground_truth_success,
        "false_positives": trained.false_positives,
        "random_policy_success": random.ground_truth_success,
        "goal_blind_success": blind.ground_truth_success if blind else None,
        "held_out_success": held_out.ground_truth_success if held_out else None,
        "held_out_goal_blind_success": (
            held_out_blind.ground_truth_success if held_out_blind else None
        ),
        "alarms": sorted({kind for row in folder.history for kind in row.alarms}),
        "evaluation_episodes": trained.episodes,
        "seed": experiment.seed,
        "encoder": experiment.vlm_reward.encoder,
        "training": dataclasses.asdict(last),
    }
    folder.save_summary(summary)
    return summary
