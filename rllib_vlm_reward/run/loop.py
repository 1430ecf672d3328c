"""Trains, saves and evaluates: one run from its settings to its summary."""

import contextlib
import dataclasses
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm

from rllib_vlm_reward.connectors.callbacks import callbacks_of
from rllib_vlm_reward.errors import AlarmError
from rllib_vlm_reward.freed_memory import keep_freed_memory
from rllib_vlm_reward.monitoring import metric_names as names
from rllib_vlm_reward.monitoring.monitor import RewardMonitor
from rllib_vlm_reward.run.agents_evaluation import evaluate_agents
from rllib_vlm_reward.run.evaluator import Evaluator, Outcome
from rllib_vlm_reward.run.experiment import Experiment
from rllib_vlm_reward.run.frame_pictures import (
    draw_highlights,
    save_frames,
    save_video,
    strip,
)
from rllib_vlm_reward.run.goal_table import save_goals
from rllib_vlm_reward.run.progress import FIGURES, Progress, iterate
from rllib_vlm_reward.run.run_folder import RunFolder
from rllib_vlm_reward.run.training_charts import draw_curriculum, save_curve
from rllib_vlm_reward.serving.deployment import joined_cluster

__all__ = ["train"]

VIDEO_EPISODES = 6
# Memory for frames and episodes that are being sent. Ray's default is 30 % of the machine's memory.
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

    The function joins the Ray cluster of ``RAY_ADDRESS``, or starts a local one that ends with the
    run.

    Args:
        experiment: the settings of the run.
        output: folder for the checkpoint, the TensorBoard events, ``summary.json`` and
            ``returns.png``; for a single agent also ``agent.gif``, with a curriculum
            ``curriculum.png``, and if goals are proposed ``goals.csv``.
        resume: whether to resume from the checkpoint in ``output``.
        report: called with the progress after each iteration, and with a line of text before each
            further step.

    Returns:
        The contents of ``summary.json``. Returns and success are means over the episodes of the
        evaluation (without exploration, unless ``evaluation`` says otherwise); for several agents
        also by agent, under ``agents``. ``wall_seconds`` is the duration of the training
        iterations.

    Raises:
        FileExistsError, FileNotFoundError, ConfigError: see :class:`.RunFolder`.
        AlarmError: an alarm began, and the reward has ``alarms: error``.
        CheckpointError, ConfigError, FrameError, GoalError, PoolError, RewardError: the settings,
            the env or the reward are wrong.
    """
    config = experiment.to_algorithm_config()  # first, so that its errors come at once
    keep_freed_memory()  # of the learner, which is in this process
    with (
        contextlib.closing(RunFolder(output, experiment, resume=resume)) as folder,
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
            if algorithm is not None:
                algorithm.stop()


@contextlib.contextmanager
def _exit_at_sigterm() -> Iterator[None]:
    """Treat a scheduler's SIGTERM like Ctrl-C, so that the run is saved.

    Ray 2.60's own handler would abort the driver.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _learn(algorithm: Algorithm, experiment: Experiment, folder: RunFolder, report: Report) -> None:
    stop, history = experiment.stop, folder.history
    if history and stop.is_reached(history[-1]):
        report("training is complete: evaluating the run again")
        return
    # The evaluator does not support several agents.
    evaluator = None if algorithm.config.is_multi_agent else Evaluator(algorithm)
    picture_at = 0
    callbacks_of(algorithm).show_highlights(algorithm)
    try:
        while not (history and stop.is_reached(history[-1])):
            progress, result = iterate(algorithm, history[-1] if history else None)
            folder.log(progress, result)
            _log_scores(folder, callbacks_of(algorithm).monitor, progress.env_steps, experiment)
            report(progress)
            if progress.iteration % experiment.checkpoint_every == 0:
                folder.save_checkpoint(algorithm)
            if evaluator is not None and progress.env_steps >= picture_at:
                picture_at = progress.env_steps + stop.env_steps // 10
                _log_pictures(folder, evaluator, progress, experiment)
    except AlarmError:
        # There is no progress for this iteration, since the alarm stopped it.
        env_steps = history[-1].env_steps if history else 0
        _log_scores(folder, callbacks_of(algorithm).monitor, env_steps, experiment)
        _save_at_end(algorithm, folder, "alarm", report, trained=True)
        raise
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt | SystemExit)
        why = "interrupted" if interrupted else "error"
        _save_at_end(algorithm, folder, why, report, trained=bool(history))
        raise
    finally:
        if evaluator is not None:
            evaluator.close()
    folder.save_checkpoint(algorithm)


def _save_at_end(
    algorithm: Algorithm, folder: RunFolder, why: str, report: Report, *, trained: bool
) -> None:
    """Save what was trained before training ended early, without hiding why it ended."""
    if not trained:
        report(f"{why} in the first iteration: nothing to save")
        return
    report(f"{why}: saving a checkpoint")
    try:
        folder.save_checkpoint(algorithm)
    except Exception as error:
        kept = "the last one is kept" if folder.checkpoint.exists() else "there is none"
        report(f"the checkpoint cannot be saved ({type(error).__name__}: {error}): {kept}")
        return
    iteration = folder.history[-1].iteration if folder.history else 1
    report(f"saved after iteration {iteration}: resume with --resume")


def _log_pictures(
    folder: RunFolder, evaluator: Evaluator, progress: Progress, experiment: Experiment
) -> None:
    """Add an episode of the present policy and a chart of the curriculum to TensorBoard."""
    frames = strip(evaluator.record(1), experiment.vlm_reward.threshold_in_force)
    folder.log_frames(names.EPISODE_PICTURE, frames, progress.env_steps)
    if progress.curriculum is not None:
        drawn = draw_curriculum(folder.history)
        folder.log_frames(names.CURRICULUM, drawn, progress.env_steps)


def _log_scores(
    folder: RunFolder, monitor: RewardMonitor, env_steps: int, experiment: Experiment
) -> None:
    """Add histograms of the scores and the highest-scored frames to TensorBoard."""
    for name, counts, bounds in monitor.histograms():
        folder.log_scores(name, counts, env_steps, bounds=bounds)
    if monitor.highlights:
        picture = draw_highlights(monitor.highlights, experiment.vlm_reward.threshold_in_force)
        folder.log_frames(names.HIGHEST_SCORES, picture, env_steps)


def _conclude(
    algorithm: Algorithm, experiment: Experiment, folder: RunFolder, report: Report
) -> dict[str, Any]:
    """Evaluate the run, draw its pictures, and write the summary."""
    last = folder.history[-1]
    if algorithm.config.is_multi_agent:
        evaluated = _evaluate_agents(algorithm, folder, report)
    else:
        evaluated = _evaluate(algorithm, experiment, folder, report)
    save_curve(folder.path / "returns.png", folder.history, str(experiment.environment["env"]))
    if last.curriculum is not None:
        save_frames(folder.path / "curriculum.png", draw_curriculum(folder.history))
        if "growth" in last.curriculum:
            save_goals(folder.path / "goals.csv", last.curriculum)
            report(_growth_of(last.curriculum["growth"]))
    summary = {
        "env_steps": last.env_steps,
        "wall_seconds": last.wall_seconds,
        **evaluated,
        "alarms": sorted({kind for row in folder.history for kind in row.alarms}),
        "seed": experiment.seed,
        "encoder": ", ".join(encoder for encoder, *_ in experiment.vlm_reward.encoders),
        "training": dataclasses.asdict(last),
    }
    folder.save_summary(summary)
    return summary


def _growth_of(numbers: Mapping[str, Any]) -> str:
    """Return a line that says how the goals grew."""
    refused = ", ".join(f"{number} {reason}" for reason, number in numbers["refused"].items())
    added = f"goals: {numbers['goals']}, of which {numbers['added']} were added"
    return f"{added} (refused: {refused or 'none'}); see goals.csv"


def _evaluate(
    algorithm: Algorithm, experiment: Experiment, folder: RunFolder, report: Report
) -> dict[str, Any]:
    """Evaluate a single agent, random actions and a goal-blind agent, and draw some episodes."""
    episodes = experiment.evaluation_episodes
    report(f"evaluating: {episodes} episodes each of the agent, random actions and wrong goals")
    with contextlib.closing(Evaluator(algorithm, episodes=episodes)) as evaluator:
        trained, chance = evaluator.trained(episodes), evaluator.random(episodes)
        blind, held_out = evaluator.goal_blind(episodes), evaluator.held_out(episodes)
        held_out_blind = evaluator.goal_blind(episodes, held_out=True)
    report("drawing")
    # A new evaluator with one sub-env, since recording stores the frames of all sub-envs.
    with contextlib.closing(Evaluator(algorithm)) as evaluator:
        moments = evaluator.record(VIDEO_EPISODES)
    save_video(folder.path / "agent.gif", moments, experiment.vlm_reward.threshold_in_force)
    return {
        **{name: getattr(trained, name) for name in FIGURES},
        "random_policy_success": chance.ground_truth_success,
        "goal_blind_success": _success(blind),
        "held_out_success": _success(held_out),
        "held_out_goal_blind_success": _success(held_out_blind),
        "evaluation_episodes": trained.episodes,
    }


def _evaluate_agents(algorithm: Algorithm, folder: RunFolder, report: Report) -> dict[str, Any]:
    """Evaluate several agents with RLlib's evaluation, and add its metrics to TensorBoard."""
    unit = algorithm.config.evaluation_duration_unit
    report(f"evaluating: {algorithm.config.evaluation_duration} {unit} of the agents together")
    outcome = evaluate_agents(algorithm)
    folder.log_evaluation(outcome.result)
    report("drawing")
    return {
        **outcome.together,
        "agents": outcome.agents,
        "evaluation_episodes": outcome.episodes,
    }


def _success(outcome: Outcome | None) -> float | None:
    return None if outcome is None else outcome.ground_truth_success
