"""``rllib-vlm-reward train``: trains the agent of a YAML."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from rllib_vlm_reward.cli.app import app, quiet, say_loading
from rllib_vlm_reward.cli.arguments import SHIPPED, Assignments, check_writable, config_path

if TYPE_CHECKING:
    from rllib_vlm_reward.run import Experiment


@app.command("train")
def train_command(
    config: Annotated[
        Path,
        typer.Argument(
            help="YAML of the run. " + SHIPPED,
            parser=config_path,
            metavar="CONFIG",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for the results; runs/CONFIG by default."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the checkpoint in DIR.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Build the run, load the CLIP, score one step, and write nothing."
        ),
    ] = False,
    assignments: Assignments = None,
    seed: Annotated[int | None, typer.Option(help="Seed that replaces CONFIG's.")] = None,
) -> None:
    """Train an agent from its goals in words, evaluate it, and draw what it does.

    CONFIG holds RLlib's settings under RLlib's names (`environment`, `env_runners`,
    `training`, ...) and the section `vlm_reward`. A commented example is quickstart;
    `--check` prints where its file is.

    The command writes `checkpoint/`, TensorBoard events, `summary.json`, `returns.png` and, for a
    single agent, `agent.gif` to DIR. To follow the training, run `tensorboard --logdir DIR`.

    The command joins the Ray cluster of RAY_ADDRESS if that is set; otherwise it starts Ray on
    this machine.

    Examples:

    ```
    rllib-vlm-reward train quickstart --output runs/quickstart
    rllib-vlm-reward train quickstart --check --set vlm_reward.threshold=0.6
    ```
    """
    folder = output or Path("runs", config.stem)
    if not check:
        if folder.is_file():
            raise FileExistsError(
                f"{folder} is a file, expected a folder. Choose another --output."
            )
        check_writable(folder)
    say_loading(config, assignments)
    from rllib_vlm_reward.run import Experiment

    quiet()
    experiment = Experiment.from_file(config, assignments or ())
    if seed is not None:
        experiment = experiment.model_copy(update={"seed": seed})
    if check:
        _check(experiment, config)
    else:
        _train(experiment, folder, resume=resume)


def _check(experiment: "Experiment", config: Path) -> None:
    from rllib_vlm_reward.run import check

    say = Console(stderr=True, highlight=False, markup=False)
    Console().print_json(data=check(experiment, report=say.print))
    say.print(f"{config} can be trained.", soft_wrap=True)


def _train(experiment: "Experiment", folder: Path, *, resume: bool) -> None:
    from rllib_vlm_reward.run import Display, headline, train

    with Display(experiment.stop.env_steps) as display:
        summary = train(experiment, folder, resume=resume, report=display.update)
    training = {key: value for key, value in summary["training"].items() if key != "curriculum"}
    Console().print_json(data={**summary, "training": training})
    names = ["checkpoint", "summary.json", "returns.png", "agent.gif"]
    written = [name for name in names if (folder / name).exists()]
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"{folder} holds {', '.join(written[:-1])} and {written[-1]}.")
    console.print(headline(summary))
