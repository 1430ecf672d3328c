"""The command line: ``rllib-vlm-reward train``, ``relabel``, ``bench`` and ``train-clip``."""

import dataclasses
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, NoReturn

import pydantic
import typer
import yaml
from pydantic_core import ErrorDetails
from rich.console import Console
from rich.table import Table

from rllib_vlm_reward.errors import ERRORS

__all__ = ["app", "main"]

EXPECTED = (
    *ERRORS,
    FileExistsError,
    FileNotFoundError,
    yaml.YAMLError,
)

app = typer.Typer(
    help="Train RLlib agents from language goals: CLIP says whether a frame shows the goal.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.command("train")
def train_command(
    config: Annotated[
        Path,
        typer.Argument(help="YAML of the run.", exists=True, dir_okay=False, metavar="CONFIG.yaml"),
    ],
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder that the run leaves; runs/CONFIG by default."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from DIR's checkpoint.")] = False,
    seed: Annotated[int | None, typer.Option(help="In place of CONFIG's seed.")] = None,
) -> None:
    """Train an agent from its goals in words, evaluate it, and draw what it does.

    CONFIG.yaml holds RLlib's own settings under RLlib's own names (`environment`, `env_runners`,
    `training`, ...) beside `vlm_reward`; configs/quickstart.yaml is a commented example.

    DIR ends with `checkpoint/`, TensorBoard events, `summary.json`, `returns.png` and
    `agent.gif`. Watch it meanwhile with `tensorboard --logdir DIR`.

    Joins the Ray cluster of RAY_ADDRESS if that is set, else starts Ray on this machine.

    Example: `rllib-vlm-reward train configs/quickstart.yaml --output runs/quickstart`
    """
    from rllib_vlm_reward.run import Display, Experiment, train

    _quiet()
    folder = output or Path("runs", config.stem)
    experiment = Experiment.from_file(config)
    if seed is not None:
        experiment = experiment.model_copy(update={"seed": seed})
    with Display(experiment.stop.env_steps) as display:
        summary = train(experiment, folder, resume=resume, report=display.update)
    told = {key: it for key, it in summary["training"].items() if key != "curriculum"}
    Console().print_json(data={**summary, "training": told})
    Console().print(f"{folder} holds the checkpoint, summary.json, returns.png and agent.gif.")


@app.command("train-clip")
def train_clip_command(
    architecture: Annotated[
        str,
        typer.Argument(
            help="Name of an embedded CLIP (small, base), or path of an open_clip_config.json.",
            metavar="ARCHITECTURE",
        ),
    ],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the trained CLIP.")],
    steps: Annotated[int | None, typer.Option(help="Steps of the optimiser.")] = None,
    frames: Annotated[int | None, typer.Option(help="Frames to render and caption.")] = None,
    seed: Annotated[int, typer.Option(help="Of play, batches and articles.")] = 0,
) -> None:
    """Train a CLIP on rendered, captioned BabyAI frames, and score it on held-out layouts.

    The defaults made the CLIPs that ship. DIR is in open_clip's own layout, with a model card:
    give it as `encoder` in a run's `vlm_reward`.

    Example: `rllib-vlm-reward train-clip base --output runs/my-clip`
    """
    from rich.progress import Progress as Bar

    from rllib_vlm_reward.pretraining import Settings, train_clip

    given = {"steps": steps, "num_frames": frames}
    settings = Settings(seed=seed, **{key: value for key, value in given.items() if value})
    with Bar() as bar:
        task = bar.add_task("play", total=settings.steps)
        scores = train_clip(
            architecture,
            output,
            settings,
            report=lambda now: bar.update(task, completed=now.step, description=now.phase),
        )
    table = Table("family", "average precision", "precision", "recall", title="held-out layouts")
    for family, score in scores.items():
        numbers = (score.average_precision, score.precision, score.recall)
        table.add_row(family, *(f"{number:.4f}" for number in numbers))
    Console().print(table)
    Console().print(f"{output} holds the CLIP and model_card.md.")


@app.command("relabel")
def relabel_command(
    recording: Annotated[
        Path,
        typer.Argument(help="Folder of RLlib's recorded episodes.", exists=True, metavar="IN"),
    ],
    output: Annotated[
        Path, typer.Argument(help="Folder of the relabelled episodes.", metavar="OUT")
    ],
    config: Annotated[
        Path,
        typer.Option(
            help="A run's YAML, of which `vlm_reward` counts, or the keys of that alone.",
            exists=True,
            dir_okay=False,
            metavar="CONFIG.yaml",
        ),
    ],
    goal: Annotated[
        str | None, typer.Option(help="One of the goals, for every episode (hindsight).")
    ] = None,
) -> None:
    """Reward recorded episodes anew, with any goals and any CLIP.

    IN is what `config.offline_data(output=IN, output_write_episodes=True)` recorded, with frames
    in observations or infos. OUT is for `config.offline_data(input_=[OUT],
    input_read_episodes=True)`. Killed, the same command goes on where it was.

    Joins the Ray cluster of RAY_ADDRESS if that is set, else starts Ray on this machine.

    Example: `rllib-vlm-reward relabel recorded relabelled --config configs/quickstart.yaml`
    """
    from rich.progress import Progress as Bar

    from rllib_vlm_reward.offline import read_config, relabel

    _quiet()
    with Bar() as bar:
        task = bar.add_task("relabel", total=None)
        last = relabel(
            read_config(config),
            recording,
            output,
            goal=goal,
            report=lambda now: bar.update(
                task,
                completed=now.finished,
                total=now.units,
                description=f"{now.episodes} episodes, {now.steps} steps",
            ),
        )
    Console().print_json(data=dataclasses.asdict(last))
    if last.unfinished:
        Console().print(
            f"{last.unfinished} episodes are chunks without an end, which RLlib refuses to read: "
            "record with batch_mode='complete_episodes'."
        )


@app.command("bench")
def bench_command(
    config: Annotated[
        Path | None,
        typer.Argument(
            help="YAML of a run, to time its own env and learner too.",
            exists=True,
            dir_okay=False,
            metavar="[CONFIG.yaml]",
        ),
    ] = None,
    encoder: Annotated[str | None, typer.Option(help="A CLIP, in place of a run.")] = None,
    frame: Annotated[str, typer.Option(metavar="HxW", help="Size of the frames.")] = "224x224",
    runners: Annotated[int, typer.Option(help="Env runners, a process each.")] = 2,
    actors: Annotated[int, typer.Option(help="Reward actors.")] = 1,
    request: Annotated[int, typer.Option(help="Frames of a request: sub-envs of a runner.")] = 16,
    seconds: Annotated[float, typer.Option(help="Of each measurement.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the shares.")] = None,
) -> None:
    """Tell what this machine gives, where the time goes, and what holds a run back.

    With CONFIG.yaml, a few of the run's own iterations are timed, with its reward and with one
    that costs nothing, and the other options but --seconds are the run's. Without, the CLIP of
    --encoder is timed alone, and with clients that send frames as env runners do.

    Joins the Ray cluster of RAY_ADDRESS if that is set, else starts Ray on this machine.

    Examples: `rllib-vlm-reward bench configs/quickstart.yaml`,
    `rllib-vlm-reward bench --encoder ViT-B-32/random --frame 480x480 --runners 4`
    """
    from rllib_vlm_reward.bench.bench import bench_load, bench_run
    from rllib_vlm_reward.bench.display import save_picture, tables
    from rllib_vlm_reward.bench.served import read_load

    _quiet()
    say = Console(stderr=True).print
    if config is not None:
        from rllib_vlm_reward.run import Experiment

        verdict = bench_run(Experiment.from_file(config), seconds=seconds, report=say)
    else:
        load = read_load(
            encoder, frame, runners=runners, actors=actors, request=request, seconds=seconds
        )
        verdict = bench_load(load, report=say)
    if picture is not None:
        save_picture(picture, verdict)
    if as_json:
        Console().print_json(data=verdict.to_dict())
    else:
        Console().print(tables(verdict))


def _quiet() -> None:
    """Leave the terminal to the run: Ray 2.60 warns of its own defaults at every start."""
    for name in ("ray", "ray.rllib", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="gymnasium")
    warnings.filterwarnings("ignore", category=DeprecationWarning)


def main() -> None:
    """Run the command line; an error that the user can mend is said without a traceback."""
    # As `python script.py` finds what lies beside the script: an env, a curriculum. Ray 2.60 gives
    # the driver's path to its workers.
    sys.path.insert(0, os.getcwd())
    try:
        app()
    except pydantic.ValidationError as error:
        _fail("\n".join(map(_describe, error.errors())))
    except EXPECTED as error:
        _fail(str(error))


def _describe(error: ErrorDetails) -> str:
    place = ".".join(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] in ("value_error", "missing"):
        return f"{place}: {message}" if place else message
    return f"{place}: got {error['input']!r}. {message}."


def _fail(message: str) -> NoReturn:
    console = Console(stderr=True)
    console.print(f"error: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(1)
