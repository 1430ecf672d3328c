import numpy as np
from PIL import Image

from rllib_vlm_reward.run.progress import Progress
from rllib_vlm_reward.run.training_charts import draw_curriculum, save_curve


def row(iteration, weights, means, stage=0):
    goals = {
        f"goal {i}": {"weight": weight, "episodes": iteration, "mean": mean}
        for i, (weight, mean) in enumerate(zip(weights, means, strict=True))
    }
    curriculum = {"stage": stage, "goals": goals}
    return Progress(iteration, 100 * iteration, 1.0, None, None, None, None, 1.0, curriculum)


def test_weights_and_means_are_seen():
    flat = draw_curriculum([row(i, [0.5, 0.5], [0.5, 0.5]) for i in range(1, 9)])
    moved = draw_curriculum([row(i, [i / 8, 1 - i / 8], [0.5, 0.5]) for i in range(1, 9)])
    learnt = draw_curriculum([row(i, [0.5, 0.5], [0.5, i / 8]) for i in range(1, 9)])
    assert flat.dtype == np.uint8
    assert flat.shape[2] == 3
    assert (flat != moved).any()
    assert (flat != learnt).any()


def test_a_promotion_is_a_line():
    stays = draw_curriculum([row(i, [1.0, 0.0], [0.5, None]) for i in range(1, 9)])
    rises = draw_curriculum([row(i, [1.0, 0.0], [0.5, None], stage=i // 5) for i in range(1, 9)])
    assert (stays != rises).any()


def test_a_single_iteration_without_outcomes_is_drawn():
    assert draw_curriculum([row(1, [1.0], [None])]).size > 0


def test_thousands_of_goals_are_drawn_without_names():
    picture = draw_curriculum([row(1, [1e-3] * 1000, [0.0] * 1000)])
    assert picture.shape[0] < 3000


def test_the_curve_skips_what_is_unknown(tmp_path):
    history = [
        Progress(1, 100, 1.0, None, None, None, None, 9.0),
        Progress(2, 200, 2.0, 0.5, 0.4, None, 0.1, 9.0),
    ]
    save_curve(tmp_path / "c.png", history, "Lift")
    assert np.asarray(Image.open(tmp_path / "c.png")).std() > 1
