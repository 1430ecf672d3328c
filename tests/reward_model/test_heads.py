"""Each head against a derivation in NumPy, float64, one frame at a time; and one contract."""

import dataclasses
import json
import pickle
import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.goals import Goal, GoalSet
from rllib_vlm_reward.reward_model.bank import TextBank
from rllib_vlm_reward.reward_model.heads import (
    HEADS,
    Cosine,
    Dense,
    GoalBaseline,
    Head,
    Sigmoid,
    Softmax,
    head_settings,
    head_summary,
    make_head,
)
from rllib_vlm_reward.settings import dump_settings, parse_settings

DIM, SCALE, BIAS = 6, 20.0, -4.0
SETTINGS = settings(max_examples=60, deadline=None)


def unit(rows, seed):
    vectors = np.random.default_rng(seed).normal(size=(rows, DIM))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_goals(sizes=(3, 0, 7, 1)):
    """Goals with so many negatives each, and a baseline."""
    return GoalSet(
        tuple(
            Goal(f"g{i}", f"g{i}", tuple(f"n{i}{j}" for j in range(size)), baseline=f"b{i}")
            for i, size in enumerate(sizes)
        )
    )


def make_bank(goals, seed=0, logit_bias=BIAS):
    """Return the bank, and its embeddings by text in float64."""
    embeddings = unit(len(goals.statements), seed).astype(np.float32)
    by_text = dict(zip(goals.statements, embeddings.astype(np.float64), strict=True))
    return TextBank(goals, torch.from_numpy(embeddings), SCALE, logit_bias), by_text


def tensors(images, indices):
    return torch.from_numpy(np.asarray(images, np.float32)), torch.tensor(indices)


# --- Derivations: image f, goal g, negatives n [K], baseline b


def softmax(f, g, n, b, temperature):
    odds = [np.exp(f @ text / temperature) for text in (g, *n)]
    return odds[0] / sum(odds)


def goal_baseline(f, g, n, b, alpha):
    # vlmrm 0.1's code: P = alpha dd'/|d|^2 + (1 - alpha) I, 1 - |(f - g) P|^2 / 2.
    d = g - b
    projection = alpha * np.outer(d, d) / (d @ d) + (1 - alpha) * np.eye(len(d))
    return 1 - np.linalg.norm((f - g) @ projection) ** 2 / 2


CASES = {
    "softmax": (Softmax(), lambda *args: softmax(*args, 1 / SCALE), (0, 1)),
    "softmax 0.3": (Softmax(0.3), lambda *args: softmax(*args, 0.3), (0, 1)),
    "dense": (
        Dense(),
        lambda f, g, n, b: max(softmax(f, g, n, b, 1 / SCALE) - 1 / (1 + len(n)), 0),
        (0, 1),
    ),
    "dense 0.3": (
        Dense(0.3),
        lambda f, g, n, b: max(softmax(f, g, n, b, 0.3) - 1 / (1 + len(n)), 0),
        (0, 1),
    ),
    "cosine": (Cosine(), lambda f, g, n, b: f @ g, (-1, 1)),
    "goal_baseline 0": (GoalBaseline(0.0), lambda *args: goal_baseline(*args, 0.0), (-1, 1)),
    "goal_baseline 0.4": (GoalBaseline(0.4), lambda *args: goal_baseline(*args, 0.4), (-1, 1)),
    "goal_baseline 1": (GoalBaseline(1.0), lambda *args: goal_baseline(*args, 1.0), (-1, 1)),
    "sigmoid": (Sigmoid(), lambda f, g, n, b: 1 / (1 + np.exp(-(SCALE * f @ g + BIAS))), (0, 1)),
}
parametrize_cases = pytest.mark.parametrize(
    ("head", "derive", "bounds"), CASES.values(), ids=CASES.keys()
)


@parametrize_cases
@SETTINGS
@given(seed=st.integers(0, 10_000), indices=st.lists(st.integers(0, 3), min_size=1, max_size=9))
def test_every_head_keeps_the_contract(head, derive, bounds, seed, indices):
    goals = make_goals()
    bank, by_text = make_bank(goals, seed)
    images = unit(len(indices), seed + 1)
    f, i = tensors(images, indices)
    scores = head(f, bank, i)

    assert scores.shape == (len(indices),)
    assert scores.dtype == torch.float32
    assert scores.isfinite().all()
    assert scores.min() >= bounds[0] - 1e-6
    assert scores.max() <= bounds[1] + 1e-6

    derived = [
        derive(f, *statements(goals[i], by_text)) for f, i in zip(images, indices, strict=True)
    ]
    np.testing.assert_allclose(scores, derived, atol=2e-5)

    order = np.random.default_rng(seed).permutation(len(indices))
    f, i = tensors(images[order], np.array(indices)[order])
    np.testing.assert_allclose(head(f, bank, i), scores[order], atol=1e-6)
    for row in range(len(indices)):
        f, i = tensors(images[row : row + 1], indices[row : row + 1])
        np.testing.assert_allclose(head(f, bank, i), scores[row : row + 1], atol=1e-6)


def statements(goal, by_text):
    negatives = [by_text[text] for text in goal.negatives]
    return by_text[goal.prompt], negatives, by_text[goal.baseline]


@parametrize_cases
def test_every_head_is_a_frozen_picklable_value(head, derive, bounds):
    assert pickle.loads(pickle.dumps(head)) == head
    assert repr(head) == repr(pickle.loads(pickle.dumps(head)))
    assert head.__dataclass_params__.frozen
    assert dataclasses.replace(head) == head


@parametrize_cases
def test_a_batch_of_nothing(head, derive, bounds):
    bank, _ = make_bank(make_goals())
    assert head(torch.zeros(0, DIM), bank, torch.zeros(0, dtype=torch.int64)).shape == (0,)


@SETTINGS
@given(st.integers(0, 10_000), st.integers(1, 6), st.floats(0.005, 5))
def test_one_more_negative_never_raises_p(seed, size, temperature):
    embeddings = torch.from_numpy(unit(8, seed).astype(np.float32))
    image = torch.from_numpy(unit(1, seed + 1).astype(np.float32))
    probabilities = []
    for count in (size, size + 1):
        goals = GoalSet((Goal("g", "g", tuple(f"n{j}" for j in range(count))),))
        bank = TextBank(goals, embeddings[: 1 + count], SCALE)
        probabilities.append(Softmax(temperature)(image, bank, torch.tensor([0])).item())
    assert probabilities[1] <= probabilities[0] + 1e-6


@SETTINGS
@given(st.integers(0, 10_000), st.floats(0.02, 5))
def test_goal_and_negatives_share_one_probability(seed, temperature):
    texts = ("a", "b", "c", "d")
    goals = GoalSet(tuple(Goal(t, t, tuple(o for o in texts if o != t)) for t in texts))
    bank, _ = make_bank(goals, seed)
    images = torch.from_numpy(unit(1, seed + 1).astype(np.float32)).expand(4, -1)
    scores = Softmax(temperature)(images, bank, torch.arange(4))
    assert scores.sum().item() == pytest.approx(1, abs=1e-5)


def test_a_goal_without_negatives_is_certain():
    bank, _ = make_bank(make_goals((0, 2)))
    images, indices = tensors(unit(3, 5), [0, 0, 0])
    assert Softmax()(images, bank, indices).tolist() == [1, 1, 1]
    assert Dense()(images, bank, indices).tolist() == [0, 0, 0]


def test_tiny_temperatures_do_not_overflow():
    bank, _ = make_bank(make_goals())
    images, indices = tensors(unit(4, 5), [0, 1, 2, 3])
    assert Softmax(1e-6)(images, bank, indices).isfinite().all()


@SETTINGS
@given(st.integers(0, 10_000))
def test_goal_baseline_without_regularisation_is_the_cosine(seed):
    bank, _ = make_bank(make_goals(), seed)
    images, indices = tensors(unit(4, seed + 1), [0, 1, 2, 3])
    np.testing.assert_allclose(
        GoalBaseline(0.0)(images, bank, indices), Cosine()(images, bank, indices), atol=1e-6
    )


@SETTINGS
@given(st.integers(0, 10_000), st.floats(0, 1))
def test_goal_baseline_is_1_at_the_goal_and_never_below_the_cosine(seed, alpha):
    bank, _ = make_bank(make_goals(), seed)
    indices = torch.arange(4)
    at_goal = GoalBaseline(alpha)(bank.goal(indices), bank, indices)
    np.testing.assert_allclose(at_goal, 1, atol=1e-6)
    images = torch.from_numpy(unit(4, seed + 1).astype(np.float32))
    scores, cosines = GoalBaseline(alpha)(images, bank, indices), Cosine()(images, bank, indices)
    assert (scores >= cosines - 1e-6).all()


def test_full_regularisation_ignores_what_is_across_the_line():
    goals = GoalSet((Goal("g", "g", baseline="b"),))
    bank = TextBank(goals, torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]), SCALE)
    frames = torch.tensor([[0.6, 0.6, 0.5], [0.6, 0.6, -0.5], [0.1, 0.1, 0.9]])
    scores = GoalBaseline(1.0)(frames, bank, torch.tensor([0, 0, 0]))
    np.testing.assert_allclose(scores, scores[0].expand(3), atol=1e-6)


def test_a_goal_that_clip_reads_as_its_baseline_has_no_score():
    goals = GoalSet((Goal("g", "g", baseline="b"),))
    bank = TextBank(goals, torch.tensor([[1.0, 0], [1.0, 0]]), SCALE)
    assert GoalBaseline(0.5)(torch.tensor([[0.0, 1.0]]), bank, torch.tensor([0])).isnan().all()


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize("head", [Softmax, Dense])
def test_a_temperature_must_be_positive(head, temperature):
    with pytest.raises(RewardError, match="expected more than 0"):
        head(temperature)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_must_be_a_share(alpha):
    with pytest.raises(RewardError, match="expected a number from 0"):
        GoalBaseline(alpha)


@pytest.mark.parametrize("given", [True, "0.1"])
@pytest.mark.parametrize("head", [Softmax, Dense, GoalBaseline])
def test_a_boolean_or_a_text_is_no_number(head, given):
    with pytest.raises(RewardError, match=f"^head {head.__name__}: .*got {given!r}, a "):
        head(given)


def test_sigmoid_needs_a_sigmoid_model():
    bank, _ = make_bank(make_goals(), logit_bias=None)
    with pytest.raises(RewardError, match=r"no logit_bias.*head: softmax"):
        Sigmoid()(torch.zeros(1, DIM), bank, torch.tensor([0]))


# --- Digests, and heads by their settings


@dataclasses.dataclass(frozen=True, eq=False)
class Weighted(Head):
    """The cosine in a weighted space."""

    weights: npt.NDArray[np.float32]
    names: tuple[str, ...] = ()

    def __call__(self, images, bank, goals):
        return (images * torch.from_numpy(self.weights) * bank.goal(goals)).sum(dim=1)


def test_arrays_count_by_type_shape_and_bytes():
    array = np.arange(5000, dtype=np.float32)  # whose repr is elided
    other = array.copy()
    other[2500] += 1
    same = [Weighted(array), Weighted(array.copy()), Weighted(np.repeat(array, 2)[::2])]
    assert len({head.digest() for head in same}) == 1
    assert same[0] == same[1]
    assert hash(same[0]) == hash(same[1])
    different = [
        Weighted(other),
        Weighted(array.astype(np.float64)),
        Weighted(array.reshape(50, 100)),
        Weighted(array, ("a",)),
        Weighted(array, ("a", "b")),
        Weighted(array, ("ab",)),
    ]
    assert len({head.digest() for head in [same[0], *different]}) == 1 + len(different)


def test_a_digest_is_the_same_in_another_process():
    code = "from rllib_vlm_reward.reward_model.heads import Softmax; print(Softmax(0.02).digest())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert found.stdout.strip() == Softmax(0.02).digest()


def test_a_field_without_content_is_refused():
    with pytest.raises(RewardError, match=r"Weighted\.weights has the type object"):
        Weighted(object()).digest()


def test_importing_the_heads_imports_no_torch():
    code = "import sys, rllib_vlm_reward.config; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert found.stdout.strip() == "False"


@pytest.mark.parametrize("head", [case[0] for case in CASES.values()], ids=list(CASES))
def test_a_head_is_made_of_what_it_writes(head):
    assert make_head(head_settings(head)) == head
    assert make_head(head) is head


def test_a_head_of_ones_own_is_made_by_its_import_path():
    own = f"{__name__}.Weighted"
    head = make_head({"kind": own, "weights": [1, 2], "names": ["a"]})
    assert head == Weighted(np.array([1, 2], np.float32), ("a",))
    assert head_settings(head) == {"kind": own, "weights": [1.0, 2.0], "names": ["a"]}
    assert head_summary(head)["weights"].startswith("float32 [2] ")
    with pytest.raises(RewardError, match=r"weights: got 'heavy'"):
        make_head({"kind": own, "weights": "heavy"})


@dataclasses.dataclass(frozen=True)
class Bounds:
    low: float = 0.0
    high: float = 1.0
    knots: npt.NDArray[np.float32] | None = None
    width: float = dataclasses.field(init=False, default=1.0)


class Constant(Head):
    """Scores every frame alike."""

    def __call__(self, images, bank, goals):
        return torch.zeros(len(images))


@dataclasses.dataclass(frozen=True, eq=False)
class Layered(Constant):
    """Has each kind of field that settings can hold."""

    layers: list[npt.NDArray[np.float32]]
    shift: npt.NDArray[np.float32] | None = None
    scale: float = 1.0
    bounds: Bounds = Bounds()
    by_name: dict[str, Bounds | None] = dataclasses.field(default_factory=dict)
    pair: tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]] | None = None


def test_what_a_head_holds_survives_yaml_and_json():
    ones, twos = np.ones(2, np.float32), np.full((2, 2), 2, np.float32)
    head = Layered([ones, twos], ones / 3, np.float32(0.1), Bounds(high=2))
    again = make_head(parse_settings(dump_settings(head_settings(head))))
    assert again.digest() == head.digest()
    assert Layered([ones]).digest() != Layered([twos]).digest()
    summary = head_summary(head)
    assert json.loads(json.dumps(summary)) == summary
    assert summary["layers"][1].startswith("float32 [2, 2] ")


def test_arrays_within_a_field_are_lists_in_yaml_too():
    ones = np.ones(2, np.float32)
    declared = Layered(
        [], bounds=Bounds(knots=ones), by_name={"a": Bounds(), "b": Bounds(knots=ones)}
    )
    settings = head_settings(declared)
    assert settings["bounds"] == {"low": 0.0, "high": 1.0, "knots": [1.0, 1.0]}
    assert make_head(parse_settings(dump_settings(settings))) == declared
    other = Layered([], bounds=Bounds(knots=ones.astype(np.float64)))
    assert make_head(parse_settings(dump_settings(head_settings(other)))) == other
    read = make_head(layered(pair=[[0.5, 2], [1, 2]]))
    assert read == Layered([], pair=(np.array([0.5, 2], np.float32), np.array([1, 2])))


@dataclasses.dataclass(frozen=True, eq=False)
class Undeclared(Constant):
    """Has arrays whose fields declare no dtype."""

    weights: np.ndarray
    layers: list[np.ndarray] | None = None
    named: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    share: float = 0.5
    on: bool = True


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.int64, bool])
def test_an_array_keeps_its_dtype_even_if_its_field_declares_none(dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    head = Undeclared(array, [array[0], array.astype(np.float32)], {"a": array}, 1, False)
    for read in (parse_settings(dump_settings(head_settings(head))), head_settings(head)):
        again = make_head(read)
        assert again.weights.dtype == again.named["a"].dtype == dtype
        assert [each.dtype for each in again.layers] == [dtype, np.float32]
        assert again.digest() == head.digest()
    assert json.loads(json.dumps(head_settings(head))) == head_settings(head)
    double = {"kind": f"{__name__}.Undeclared", "weights": [[0.0, 1.0]]}
    assert head_settings(make_head(double)) == {**double, "named": {}}
    with pytest.raises(RewardError, match="share: got True, a boolean"):
        Undeclared(array, share=True)


def test_an_array_of_another_dtype_than_declared_keeps_it():
    head = Weighted(np.ones(2))
    assert head_settings(head)["weights"] == {"dtype": "float64", "values": [1.0, 1.0]}
    assert make_head(head_settings(head)) == head


def test_a_whole_number_is_the_same_as_yaml_reads_it():
    assert GoalBaseline(1).digest() == make_head({"kind": "goal_baseline", "alpha": 1}).digest()
    assert GoalBaseline(1).digest() != GoalBaseline(0).digest()


def layered(**fields):
    return {"kind": f"{__name__}.Layered", "layers": [], **fields}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("magic", r"got 'magic', expected one of \['softmax'"),
        ({"temperature": 1}, "a mapping with one of these as `kind`"),
        (7, "got 7, expected one of"),
        ({"kind": "cosine", "alpha": 1}, r"head cosine: unknown key 'alpha'. The keys are \[\]"),
        ({"kind": "softmax", "temperature": "hot"}, "head softmax: temperature: got 'hot'"),
        ("math.tau", "expected a frozen dataclass that derives from"),
        ("rllib_vlm_reward.goals.Goal", "derives from"),
        ("rllib_vlm_reward.Head", "got 'rllib_vlm_reward.Head', which computes no scores"),
        (layered(layers=[[[1, 2], [3]]]), r"layers: got .*, expected an array of float32 \(set"),
        (layered(layers=[["a"]]), r"layers: got \['a'\], expected an array of float32"),
        (
            layered(shift={"dtype": "float33", "values": [1]}),
            r"shift: got \[1\], expected an array of float33 \(data type 'float33' not",
        ),
        (layered(bounds={"low": True}), "bounds: low: got True, a boolean, expected a number"),
        (layered(by_name={"a": {"low": "3"}}), "by_name: low: got '3', a text"),
        (layered(bounds={"hihg": 2}), "bounds.hihg: unknown key, expected a field of the class"),
        (layered(shift="ones"), "shift: got 'ones', expected a list of numbers"),
    ],
)
def test_what_is_no_head_is_refused(given, says):
    with pytest.raises(RewardError, match=says):
        make_head(given)


def test_traits_are_what_the_heads_do():
    bank, _ = make_bank(make_goals(), logit_bias=BIAS)
    images, goals = tensors(unit(400, 3), [i % 4 for i in range(400)])
    for kind, head in ((kind, HEADS[kind]()) for kind in HEADS):
        scores = head(images, bank, goals)
        low, high = head.range
        assert low - 1e-6 <= scores.min() <= scores.max() <= high + 1e-6, kind
        assert head.has_temperature == hasattr(head, "temperature"), kind
        alone = TextBank(make_goals((0,)), torch.eye(2, DIM), SCALE, BIAS)
        one = head(torch.eye(2, DIM), alone, torch.tensor([0, 0]))
        assert head.needs_negatives == bool((one == one[0]).all()), kind
        if head.needs_baseline:
            goals_only = GoalSet((Goal("g", "g", ("n",)),))
            bare = TextBank(goals_only, torch.eye(2, DIM), SCALE, BIAS)
            with pytest.raises(RewardError, match="no baseline"):
                head(torch.eye(1, DIM), bare, torch.tensor([0]))
