"""`score` gives an image file what open_clip's tower gives its pixels."""

import json
import subprocess

import fork_server
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from rllib_vlm_reward.cli import app
from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import ConfigError, FrameError, GoalError, RewardError
from rllib_vlm_reward.evaluation.score import score_images
from rllib_vlm_reward.reward_model.clip import CLIPEncoder

GOALS = ["a red ball", "a blue key", "a grey box"]
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 64, 48, 3), np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, frame in enumerate(PIXELS):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    return tmp_path


def run(*words):
    return CliRunner().invoke(app, ["score", *words], env={"COLUMNS": "80"})


def options(goals=GOALS, **more):
    words = [word for goal in goals for word in ("--goal", goal)]
    named = {"encoder": "small", **more}
    return [*words, *(word for name, value in named.items() for word in (f"--{name}", str(value)))]


def softmax_of(pixels, texts):
    """p of each text among all, float32 ``[B, N]``."""
    encoder = CLIPEncoder.load("small")
    with torch.no_grad():
        logits = encoder.encode_frames(pixels) @ encoder.encode_texts(texts).T
        return (logits * encoder.logit_scale).softmax(dim=1).numpy()


def test_json_holds_the_softmax_of_each_image_over_the_goals(folder):
    ran = run("0.png", "1.png", "2.png", *options(threshold=0.3), "--json")
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)
    expected = softmax_of(PIXELS, GOALS)
    assert [row["image"] for row in found["images"]] == ["0.png", "1.png", "2.png"]
    for row, p in zip(found["images"], expected, strict=True):
        assert [*row["scores"]] == GOALS
        np.testing.assert_allclose([*row["scores"].values()], p, atol=1e-5)
        assert [*row["fires"].values()] == (p > 0.3).tolist()
    assert found["weights"] == CLIPEncoder.load("small").fingerprint
    assert (found["head"], found["threshold"]) == ("softmax", 0.3)


def test_a_score_at_the_threshold_does_not_fire(folder):
    score = json.loads(run("0.png", *options(), "--json").stdout)["images"][0]["scores"][GOALS[0]]
    words = [run("0.png", *options(threshold=beta), "--json") for beta in (score, score - 1e-6)]
    fires = [json.loads(ran.stdout)["images"][0]["fires"][GOALS[0]] for ran in words]
    assert fires == [False, True]


def test_the_table_has_a_row_for_each_image_and_marks_what_fires(folder):
    ran = run("0.png", "2.png", *options(threshold=0.3))
    assert ran.exit_code == 0, ran.output
    head, _, *rows = [line.split() for line in ran.stdout.splitlines() if line.strip()][:4]
    assert head == ["image", *" ".join(GOALS).split()]
    for row, name, p in zip(
        rows, ("0.png", "2.png"), softmax_of(PIXELS[[0, 2]], GOALS), strict=True
    ):
        assert row == [name, *(f"{each:.4f}{'*' if each > 0.3 else ''}" for each in p)]
    assert "* the score exceeds 0.3" in ran.stdout


def test_many_goals_are_spread_over_tables_that_fit_the_terminal(folder):
    ran = run("0.png", *options(["a {red|blue|grey|green} {ball|box|key}"]))
    lines = ran.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line.split()[1:] for line in lines if line.split()[:1] == ["0.png"]]
    assert [len(row) for row in rows] == [4, 4, 4]
    assert sum(float(cell) for row in rows for cell in row) == pytest.approx(1, abs=1e-3)


def test_a_negative_makes_one_goal_enough_and_is_no_column(folder):
    ran = run("0.png", *options(GOALS[:1], negative="an empty room"), "--json")
    (row,) = json.loads(ran.stdout)["images"]
    expected = softmax_of(PIXELS[:1], [GOALS[0], "an empty room"])[0, 0]
    assert row == {"image": "0.png", "scores": {GOALS[0]: pytest.approx(expected, abs=1e-5)}}


def test_one_goal_alone_says_which_option_helps_and_a_cosine_needs_none(folder):
    refused = run("0.png", *options(GOALS[:1]))
    assert refused.exit_code == 2
    words = " ".join(refused.output.replace("│", "").split())
    assert "--negative TEXT" in words
    assert "another --goal" in words
    assert "--head cosine" in words
    ran = run("0.png", *options(GOALS[:1], head="cosine"), "--json")
    encoder = CLIPEncoder.load("small")
    expected = encoder.encode_frames(PIXELS[:1]) @ encoder.encode_texts(GOALS[:1]).T
    (row,) = json.loads(ran.stdout)["images"]
    assert row["scores"][GOALS[0]] == pytest.approx(expected.item(), abs=1e-5)


def test_a_baseline_is_given_where_the_head_needs_one(folder):
    refused = run("0.png", *options(GOALS[:1], head="goal_baseline"))
    assert refused.exit_code == 2
    assert "Add --baseline TEXT" in " ".join(refused.output.replace("│", "").split())
    words = options(GOALS[:1], head="goal_baseline", baseline="an empty room")
    ran = run("0.png", *words, "--json")
    encoder = CLIPEncoder.load("small")
    f = encoder.encode_frames(PIXELS[:1])[0].double().numpy()
    g, b = encoder.encode_texts([GOALS[0], "an empty room"]).double().numpy()
    along = np.outer(g - b, g - b) / ((g - b) @ (g - b))  # vlmrm's projection, alpha 0.5
    expected = 1 - np.linalg.norm((f - g) @ (0.5 * along + 0.5 * np.eye(len(f)))) ** 2 / 2
    (row,) = json.loads(ran.stdout)["images"]
    assert row["scores"][GOALS[0]] == pytest.approx(expected, abs=1e-5)


def test_a_photograph_is_turned_upright_and_grey_and_alpha_are_rgb(folder):
    upright = Image.fromarray(PIXELS[0])
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate 90 degrees clockwise to display"
    turned.save("turned.png", exif=exif)
    upright.convert("L").save("grey.png")
    upright.convert("L").convert("RGB").save("grey_rgb.png")
    upright.convert("RGBA").save("alpha.png")
    names = ["0.png", "turned.png", "alpha.png", "grey.png", "grey_rgb.png"]
    ran = run(*names, *options(), "--json")
    assert ran.exit_code == 0, ran.output
    found = [[*row["scores"].values()] for row in json.loads(ran.stdout)["images"]]
    assert found[0] == found[1] == found[2]
    assert found[3] == found[4] != found[0]


def test_images_of_other_sizes_are_scored_beside_each_other(folder):
    Image.fromarray(PIXELS[1, :40]).save("short.png")
    config = VLMRewardConfig(encoder="small", goals=GOALS)
    scores = score_images(config, [folder / "1.png", folder / "short.png"])
    np.testing.assert_allclose(scores.values[0], softmax_of(PIXELS[1:2], GOALS)[0], atol=1e-5)
    np.testing.assert_allclose(scores.values[1], softmax_of(PIXELS[1:2, :40], GOALS)[0], atol=1e-5)


def test_set_replaces_values_of_the_configuration(folder):
    config = VLMRewardConfig(encoder="base", goals=GOALS, threshold=0.1)
    (folder / "run.yaml").write_text(config.to_yaml())
    words = ["--set", "vlm_reward.threshold=0.3", "--set", "vlm_reward.encoder=small"]
    found = json.loads(run("0.png", "--config", "run.yaml", *words, "--json").stdout)
    assert (found["encoder"], found["threshold"]) == ("small", 0.3)


def test_a_head_is_given_with_its_settings(folder):
    def scores(head):
        ran = run("0.png", *options(GOALS[:1], head=head, baseline="an empty room"), "--json")
        assert ran.exit_code == 0, ran.output
        return json.loads(ran.stdout)

    weak, default = scores("{kind: goal_baseline, alpha: 0.2}"), scores("goal_baseline")
    assert weak["head"] == {"kind": "goal_baseline", "alpha": 0.2}
    assert weak["images"] != default["images"]
    assert scores("{kind: goal_baseline, alpha: 0.5}")["images"] == default["images"]


def test_a_configuration_brings_goals_head_and_threshold(folder):
    config = VLMRewardConfig(encoder="base", goals=GOALS, head="cosine", threshold=0.1)
    (folder / "run.yaml").write_text(config.to_yaml())
    ran = run("0.png", "--config", "run.yaml", "--encoder", "small", "--json")
    found = json.loads(ran.stdout)
    assert (found["encoder"], found["head"], found["threshold"]) == ("small", "cosine", 0.1)
    encoder = CLIPEncoder.load("small")
    expected = encoder.encode_frames(PIXELS[:1]) @ encoder.encode_texts(GOALS).T
    np.testing.assert_allclose([*found["images"][0]["scores"].values()], expected[0], atol=1e-5)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["0.png", "--encoder", "small"], "give --goal and --encoder, or --config"),
        (["0.png", "--goal", "a ball"], "give --goal and --encoder, or --config"),
        (["0.png", "--config", "0.png", "--goal", "a ball"], "--config replaces --goal"),
        (["0.png", "--config", "0.png", "--baseline", "a room"], "--config replaces --goal"),
        (["0.png", "0.png", *options()], "0.png twice"),
        (["none.png", *options()], "'none.png' does not exist"),
        ([*options()], "Missing argument 'IMAGE"),
    ],
)
def test_wrong_arguments_are_refused(folder, words, says):
    refused = run(*words)
    assert refused.exit_code == 2
    assert says in " ".join(refused.output.replace("│", "").split())


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (["text.png", *options()], FrameError, "text.png cannot be read as an image"),
        (["deep.png", *options()], FrameError, "mode 'I;16', expected 8 bits a channel"),
        (["0.png", *options(head="softmx")], RewardError, "softmx"),
        (["0.png", *options(device="no-such-device")], ConfigError, "no-such-device"),
        (["0.png", *options(["a {ball"])], GoalError, "brace"),
    ],
)
def test_what_cannot_be_scored_is_said_before_a_clip_is_loaded(
    folder, monkeypatch, words, error, says
):
    monkeypatch.setattr("rllib_vlm_reward.evaluation.score.load_model", pytest.fail)
    (folder / "text.png").write_text("no image")
    Image.fromarray(np.zeros((8, 8), np.uint16)).save("deep.png")
    refused = run(*words).exception
    assert isinstance(refused, error)
    assert says in str(refused)


def test_no_ray_is_started(folder):
    """In a process of its own, since this one may run Ray for other tests."""
    code = (
        "import ray, sys\n"
        "from typer.testing import CliRunner\n"
        "from rllib_vlm_reward.cli import app\n"
        "ran = CliRunner().invoke(app, sys.argv[1:])\n"
        "assert ran.exit_code == 0, ran.output\n"
        "assert not ray.is_initialized()\n"
    )
    words = [*fork_server.python(), "-c", code, "score", "0.png", *options()]
    assert subprocess.run(words, capture_output=True, text=True).returncode == 0
