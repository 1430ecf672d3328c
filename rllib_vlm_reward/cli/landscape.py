"""``rllib-vlm-reward landscape``: scores along an episode, or over a grid of states."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from rllib_vlm_reward.cli.app import app, quiet, say_loading
from rllib_vlm_reward.cli.arguments import check_output, refuse_twice

if TYPE_CHECKING:
    from rllib_vlm_reward.config import VLMRewardConfig
    from rllib_vlm_reward.evaluation.trajectory import Trajectory

Rewards = Mapping[str, "VLMRewardConfig"]


@app.command("landscape")
def landscape_command(
    configs: Annotated[
        list[Path],
        typer.Argument(
            help="Runs' YAMLs; the first one's env is played, all score what is seen.",
            exists=True,
            dir_okay=False,
            metavar="CONFIG.yaml...",
        ),
    ],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder, new or empty.")],
    player: Annotated[
        str | None, typer.Option(help="random, or expert; the expert where the env has one.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the layout and of random play.")] = 0,
    goal: Annotated[str | None, typer.Option(help="One of the goals, in place of a draw.")] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=LOW:HIGH:NUMBER",
            help="States in place of an episode, as theta=-1.57:1.57:41; twice for a heat map.",
        ),
    ] = None,
    frames: Annotated[
        Path | None,
        typer.Option(
            metavar="PARQUET",
            help="Labelled frames, of which --episode is drawn.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    episode: Annotated[str | None, typer.Option(help="Of --frames.")] = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option(help="A CLIP in place of the configurations' own; may come again."),
    ] = None,
    device: Annotated[str, typer.Option(help="Where CLIP computes, such as cuda.")] = "cpu",
) -> None:
    """Draw what the reward sees: its score step by step, or over a grid of states.

    An episode gives DIR trajectory.png and trajectory.gif, a grid landscape.png; both
    landscape.json with the numbers.

    Examples: `rllib-vlm-reward landscape configs/quickstart.yaml --output runs/landscape`,
    `rllib-vlm-reward landscape configs/cartpole.yaml --grid theta=-1.57:1.57:41 --grid x=-1:1:9
    --output runs/cartpole-heat`
    """
    if (frames is None) != (episode is None) or (grid and frames is not None):
        raise typer.BadParameter("--frames and --episode go together, and without --grid.")
    if frames is not None and (goal is not None or player is not None):
        raise typer.BadParameter("--frames were played, with their goal: no --goal, no --player.")
    if grid and player is not None:
        raise typer.BadParameter("a grid is not played: no --player.")
    if len(grid or ()) > 2:
        raise typer.BadParameter("a grid has one or two variables: give --grid once or twice.")
    check_output(output, folder=True)
    refuse_twice("CONFIG.yaml", configs)
    refuse_twice("--encoder", encoder or [])
    say_loading()
    from rllib_vlm_reward.evaluation.evaluate import candidates
    from rllib_vlm_reward.evaluation.labelled import LabelledFrames
    from rllib_vlm_reward.evaluation.landscape import only_goal
    from rllib_vlm_reward.evaluation.trajectory import Trajectory, play
    from rllib_vlm_reward.offline import read_config
    from rllib_vlm_reward.reward_model.device import check_device
    from rllib_vlm_reward.reward_model.encoder import check_encoder
    from rllib_vlm_reward.run import Experiment

    quiet()
    check_device(device)
    rewards = candidates({path: read_config(path) for path in configs}, encoder or [])
    for reward in rewards.values():  # before the env is played
        check_encoder(reward.encoder)
        if goal is not None:
            only_goal(reward, goal)
    if grid:
        told = _grid(Experiment.from_file(configs[0]), grid, rewards, output, goal, seed, device)
    else:
        if frames is not None and episode is not None:
            seen = Trajectory.of(LabelledFrames.load(frames), episode)
        else:
            run = Experiment.from_file(configs[0])
            seen = play(run, player=player, seed=seed, goal=goal)
        told = _trajectory(seen, rewards, output, device)
    (output / "landscape.json").write_text(json.dumps(told, indent=1) + "\n")
    Console().print(f"{output} holds {', '.join(sorted(file.name for file in output.iterdir()))}.")


def _trajectory(seen: "Trajectory", rewards: Rewards, output: Path, device: str) -> dict[str, Any]:
    from rllib_vlm_reward.evaluation.landscape import lines, save_trajectory
    from rllib_vlm_reward.run.evaluator import Moment
    from rllib_vlm_reward.run.frame_pictures import save_video

    drawn = lines(rewards, seen.frames, seen.goal, device=device)
    output.mkdir(parents=True, exist_ok=True)
    save_trajectory(output / "trajectory.png", seen, drawn)
    first = drawn[0]
    moments = [
        Moment(seen.episode, step, frame, seen.goal, float(score))
        for step, frame, score in zip(seen.steps, seen.frames, first.scores, strict=True)
    ]
    save_video(output / "trajectory.gif", moments, first.config.threshold)
    return {
        "goal": seen.goal,
        "player": seen.player,
        "episode": seen.episode,
        "steps": seen.steps,
        "success": seen.success,
        "rewards": [line.to_dict() for line in drawn],
    }


def _grid(
    experiment: Any,
    grid: Sequence[str],
    rewards: Rewards,
    output: Path,
    goal: str | None,
    seed: int,
    device: str,
) -> dict[str, Any]:
    from rllib_vlm_reward.evaluation.grid import Axis, render_grid
    from rllib_vlm_reward.evaluation.landscape import lines, only_goal, save_curves, save_heat

    axes = [Axis.parse(text) for text in grid]
    frames = render_grid(experiment, axes, seed=seed)
    told = only_goal(experiment.vlm_reward, goal)
    drawn = lines(rewards, frames.reshape(-1, *frames.shape[-3:]), told, device=device)
    output.mkdir(parents=True, exist_ok=True)
    path = output / "landscape.png"
    if len(axes) == 1:
        save_curves(path, axes[0], frames, drawn, told)
    else:
        save_heat(path, axes, frames, drawn, told)
    return {
        "goal": told,
        "axes": [{"name": axis.name, "values": axis.values.tolist()} for axis in axes],
        "rewards": [line.to_dict() for line in drawn],
    }
