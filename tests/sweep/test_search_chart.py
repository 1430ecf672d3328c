import itertools
import random

import matplotlib.pyplot as plt
import pytest

from rllib_vlm_reward.sweep.search_chart import _label, draw_search

KEYS = (
    "training.lr",
    "vlm_reward.templates",
    "vlm_reward.head.temperature",
    "curriculum",
    "seed",
)


def rows(trials, keys=KEYS):
    draw = random.Random(trials)
    values = {
        "training.lr": lambda: 10 ** draw.uniform(-4, -2),
        "vlm_reward.templates": lambda: [{"goal": "go to {}", "prompt": draw.choice("abcd") * 90}],
        "vlm_reward.head.temperature": lambda: draw.choice([None, 0.02, 0.05]),
        "curriculum": lambda: {"kind": draw.choice(["staged", "uniform"]), "window": 8},
        "seed": lambda: draw.randrange(3),
    }
    drawn = [
        {"trial_id": f"{i:05d}", "objective": draw.random()}
        | {key: values[KEYS[number % len(KEYS)]]() for number, key in enumerate(keys)}
        for i in range(trials)
    ]
    return sorted(drawn, key=lambda row: -row["objective"])


@pytest.mark.parametrize("trials", [1, 2, 8, 64])
@pytest.mark.parametrize("number", [0, 1, 5, 13])
def test_labels_neither_collide_nor_leave_the_picture(trials, number):
    keys = [KEYS[at] if at < len(KEYS) else f"a.key.of.a.section.{at}" for at in range(number)]
    figure = draw_search(keys, rows(trials, keys))
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in _texts(figure)]
    plt.close(figure)
    assert len(boxes) > 2 * number
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1


def _texts(figure):
    for axes in figure.axes:
        yield from axes.texts
        yield from axes.get_xticklabels()
    yield figure._suptitle


def test_the_title_names_the_best_trial():
    each = rows(8)
    figure = draw_search(KEYS, each)
    plt.close(figure)
    title = figure._suptitle.get_text()
    assert title == f"8 trials; best: {each[0]['trial_id']}, objective {each[0]['objective']:.3g}"


def labels(*names):
    return [_label(name, names) for name in names]


def test_labels_show_what_differs():
    long = "[{'goal': 'go to {}', 'prompt': 'the agent is facing {}', "
    names = [f"{long}'nothing': 'facing nothing'}}]", f"{long}'family': 'find'}}]", "none"]
    assert labels(*names) == ["…g {}', 'nothing': 'facing …", "…ng {}', 'family': 'find'}]", "none"]
    assert labels("a", "b") == ["a", "b"]
    assert labels(long) == ["[{'goal': 'go to {}', 'pro…"]


def test_labels_show_what_differs_of_a_value_that_goes_on_and_of_more_than_two():
    module = "rllib_vlm_reward.policies.GoalConditionedModule"
    assert labels(module, f"{module}SAC") == [f"…{module[-26:]}", f"…{module[-23:]}SAC"]
    stage = "[['find the ball that is red'], ['lift the ball']"
    first = "[['lift the ball that is red']]"
    assert len({*labels(f"{stage}, ['put it']]", f"{stage}, ['put it down']]", first)}) == 3
