"""Trains a CLIP on captioned frames: gets them, minimises a contrastive loss, saves and scores."""

import dataclasses
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import normalize, softplus
from torch.utils.flop_counter import FlopCounterMode

from rllib_vlm_reward.errors import CheckpointError, ConfigError
from rllib_vlm_reward.files import FolderLock, replaced_file, write_text
from rllib_vlm_reward.goals import wordings
from rllib_vlm_reward.pretraining.captioned import CaptionedFrames, Family, Mask
from rllib_vlm_reward.pretraining.card import write_card
from rllib_vlm_reward.pretraining.grounding import (
    Grounding,
    no_boxes,
    score_patches,
    words_of_things,
)
from rllib_vlm_reward.pretraining.scores import Scores, score_families
from rllib_vlm_reward.pretraining.sources import Request, Source
from rllib_vlm_reward.reward_model.clip import CLIPEncoder, save_clip
from rllib_vlm_reward.reward_model.spec import METRICS, Spec
from rllib_vlm_reward.reward_model.tokens import words_of

__all__ = [
    "Progress",
    "Settings",
    "contrast",
    "describe_texts",
    "score_clip",
    "train_clip",
]

Families = Mapping[str, Family]
Report = Callable[["Progress"], None]

WORK = ".train-clip"  # the folder in the output in which an unfinished training is kept
SAVE_S = 60.0
MAX_LOGIT_SCALE = math.log(100)  # CLIP's own bound, arXiv 2103.00020, section 2.5
REPEATS = 100  # resamples for the intervals of the held-out scores
BETAS = 0.9, 0.98
RATES = {"from nothing": 1.5e-3, "fine-tuned": 2e-5, "patches": 1e-3}
MOST_STATEMENTS = 512  # of a family in one step


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a training.

    Attributes:
        num_frames: number of frames to play; training uses the distinct ones.
        steps: number of optimiser steps.
        batch_size: number of frames in a step.
        learning_rate: the peak of AdamW's learning rate, which rises for ``warmup_steps`` and
            then falls along half a cosine. None takes 1.5e-3 from nothing, and 2e-5 if a trained
            CLIP is fine-tuned.
        warmup_steps: number of steps until the peak.
        weight_decay: weight decay of the matrices; embeddings, biases and norms have none.
        max_gradient_norm: larger gradients are scaled down to this norm.
        held_out_frames: number of frames to score on, from layouts that training never sees.
        held_out_things: things that training does not name, such as "green ball".
        seed: seed of play, batches and wordings. CLIPEncoder seeds the initial weights.
        patches: teach the vision tower of a trained CLIP what each patch shows, by the boxes of the
            source. Embeddings of texts stay, those of whole frames hardly change; the card says
            by how much, and scores its statements. Then the default learning rate is 1e-3.

    Raises:
        ValueError: a number is too small.

    Example:
        >>> Settings(steps=500).batch_size
        128
    """

    num_frames: int = 20_000
    steps: int = 2_000
    batch_size: int = 128
    learning_rate: float | None = None
    warmup_steps: int = 100
    weight_decay: float = 0.05
    max_gradient_norm: float = 1.0
    held_out_frames: int = 5_000
    held_out_things: tuple[str, ...] = ()
    seed: int = 0
    patches: bool = False

    def __post_init__(self) -> None:
        for name in ("num_frames", "steps", "batch_size", "warmup_steps", "held_out_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected at least 1.")

    @property
    def request(self) -> Request:
        """What a source is asked for."""
        return Request(self.num_frames, self.held_out_frames, self.held_out_things, self.seed)


@dataclasses.dataclass(frozen=True)
class Progress:
    """The progress of :func:`train_clip`.

    Attributes:
        phase: what is done now, such as ``play``, ``train`` or ``score``.
        done: how many frames or steps of the phase are done.
        total: how many there are.
        losses: losses of the last step by family; empty before the first step.
    """

    phase: str
    done: int
    total: int
    losses: Mapping[str, float] = dataclasses.field(default_factory=dict)


def train_clip(
    encoder: str,
    source: Source,
    output: Path,
    settings: Settings = Settings(),
    *,
    report: Report = lambda progress: None,
) -> Scores:
    """Train a CLIP on captioned frames, and write it in open_clip's local-dir layout.

    The function also writes ``model_card.md`` and ``metrics.json``. Load the CLIP with
    ``CLIPEncoder.load(str(output))``. The scores are those of the saved weights, which are in half
    precision. A training that was interrupted goes on where it was if it is repeated; until it is
    finished, its frames and state are kept in the output's folder ``.train-clip``.

    Args:
        encoder: see :meth:`.CLIPEncoder.load`. ``"ARCH/random"`` or ``"FOLDER/random"`` is trained
            from nothing, a model with weights is fine-tuned.
        source: where the frames and captions come from.
        output: folder to write, created if it is missing; existing files are replaced.
        settings: the settings of the training.
        report: called when a phase begins, and after each part of it.

    Returns:
        Held-out scores by family.

    Raises:
        CheckpointError: the encoder cannot be loaded.
        ConfigError: the output holds an unfinished training with other settings, or no statement
            names a held-out thing.
        FileExistsError: another process trains in this folder.
        LabelError: the captions cannot be learned or scored, or there are no boxes to learn
            patches from.
    """
    if settings.patches and _is_new(encoder):
        raise ConfigError(
            f"patches: got {encoder!r}, whose text tower is random, expected a trained CLIP. Train "
            "it first without patches, and then its folder with patches."
        )
    if settings.patches and not source.has_boxes:
        raise no_boxes()
    model = CLIPEncoder.load(encoder, device=_device(), precision="fp32")
    given = {"encoder": model.fingerprint, **source.facts(), **_plain(settings)}
    with _Work(output / WORK, given) as work:
        data, held_out = source.material(
            settings.request, work.folder, lambda *parts: report(Progress(*parts))
        )
        rows, unseen = _training_rows(data, settings.held_out_things), settings.held_out_things
        held_out.check("held-out")
        held_out.check_scorable()
        if settings.patches:
            words_of_things(held_out)  # raises an error if no frame has a box
        losses, seconds = _optimise(model, encoder, data, rows, settings, work, report)
        report(Progress("score", 0, 1, losses))
        if _is_new(encoder):
            _zero_untrained_words(model, data.families)
        save_clip(model, encoder, output)
        overlap = np.isin(held_out.digests(), data.digests()[rows]).mean()
        facts = {
            "encoder": encoder,
            "source": source.facts(),
            "settings": _plain(settings),
            "known_words": None if _is_new(encoder) else _known_words(encoder),
            "distinct_frames": len(rows),
            "held_out_frames_in_training": float(overlap),
            "train_seconds": round(seconds),
            "losses": losses,
        }
        scores = _write_scores(output, source, held_out, unseen, facts)
        report(Progress("score", 1, 1, losses))
        work.finish()
    return scores


def score_clip(source: Source, folder: Path, *, report: Report = lambda progress: None) -> Scores:
    """Score a CLIP that :func:`train_clip` wrote once more, and rewrite its card.

    The held-out layouts are those of its training. Nothing is trained, so what is only known from
    the training, such as its seconds, stays as it is.

    Args:
        source: where the frames and captions come from.
        folder: the CLIP's folder.
        report: see :func:`train_clip`.

    Returns:
        Held-out scores by family.

    Raises:
        CheckpointError: the folder holds no CLIP that :func:`train_clip` wrote, or has other
            weights than those of its ``metrics.json``.
        ConfigError: the CLIP was trained on another source.
        LabelError: the captions cannot be scored.
    """
    file = folder / METRICS
    if not file.is_file():
        raise CheckpointError(
            f"{folder}: it has no {METRICS}, expected a folder that train-clip wrote. Correct the "
            "path, or train the CLIP."
        )
    facts = json.loads(file.read_text())
    facts["known_words"] = facts.get("vocabulary", [])
    facts.setdefault("encoder", f"{facts.get('architecture')}/random")  # of an older version
    trained_on = facts.get("source", source.facts())
    if trained_on != source.facts():
        raise ConfigError(
            f"{folder}: got {source.facts()['options']} to score on, expected the source of the "
            f"training as it was, {trained_on['options']}. Name that one, with the same data."
        )
    weights = CLIPEncoder.load(str(folder), precision="fp32").fingerprint
    if weights != facts["fingerprint"]:
        raise CheckpointError(
            f"{folder}: its weights are {weights[:12]}, expected {facts['fingerprint'][:12]} as in "
            f"{METRICS}. Restore the file of the training, or train the CLIP."
        )
    known = {field.name for field in dataclasses.fields(Settings)}
    given = {key: value for key, value in facts["settings"].items() if key in known}
    unseen = tuple(given.get("held_out_things", ()))
    settings = Settings(**{**given, "held_out_things": unseen})
    facts["settings"] = _plain(settings)
    with _Work(folder / WORK, {"score": weights, **source.facts(), **_plain(settings)}) as work:
        held_out = source.held_out(
            settings.request, work.folder, lambda *parts: report(Progress(*parts))
        )
        held_out.check("held-out")
        held_out.check_scorable()
        scores = _write_scores(folder, source, held_out, unseen, facts)
        work.finish()
    return scores


class _Work:
    """The folder of an unfinished training; a training with the same settings goes on in it."""

    def __init__(self, folder: Path, given: Mapping[str, Any]) -> None:
        self.folder = folder
        self._lock = FolderLock(folder)
        file = folder / "given.json"
        plain = json.loads(json.dumps(given))
        before = json.loads(file.read_text()) if file.is_file() else plain
        other = [key for key in plain | before if plain.get(key) != before.get(key)]
        if other:
            self._lock.release()
            raise ConfigError(
                f"{folder.parent}: it holds an unfinished training with another {other[0]}, "
                f"{before.get(other[0])} instead of {plain.get(other[0])}. Repeat that training, "
                f"or remove {folder}."
            )
        write_text(file, json.dumps(plain))
        self._saved = time.monotonic()

    def __enter__(self) -> "_Work":
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def finish(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder)

    def save(self, state: Callable[[], dict[str, Any]]) -> None:
        """Save the training's state, at most once in a minute."""
        if time.monotonic() - self._saved >= SAVE_S:
            with replaced_file(self.folder / "state.pt") as fresh:
                torch.save(state(), fresh)
            self._saved = time.monotonic()

    def state(self, device: torch.device) -> dict[str, Any]:
        """Return the last saved state; empty if there is none."""
        file = self.folder / "state.pt"
        if not file.is_file():
            return {}
        state: dict[str, Any] = torch.load(file, map_location=device, weights_only=True)
        return state


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _plain(settings: Settings) -> dict[str, Any]:
    return {**dataclasses.asdict(settings), "held_out_things": [*settings.held_out_things]}


def _is_new(encoder: str) -> bool:
    return Spec.parse(encoder).weights is None


def _known_words(encoder: str) -> list[str]:
    """Return the words that train-clip named to the model before it is fine-tuned, if it did."""
    model = Spec.parse(encoder).model
    file = Path(model.removeprefix("local-dir:"), METRICS)
    has_file = model.startswith("local-dir:") and file.is_file()
    return list(json.loads(file.read_text()).get("vocabulary", [])) if has_file else []


def _training_rows(data: CaptionedFrames, unseen: Sequence[str]) -> Any:
    """Return the rows to train on: distinct frames that mention nothing held out."""
    for thing in unseen:
        if not any(family.about([thing]).any() for family in data.families.values()):
            raise ConfigError(
                f"held_out_things: got {thing!r}, which no statement names, expected one of the "
                f"things in statements such as {_example(data.families)!r}. Correct it."
            )
    rows = data.rows(~data.mentions(unseen))
    seen = CaptionedFrames(
        data.frames,
        data.episodes[rows],
        data.families,
        {name: held[rows] for name, held in data.holds.items()},
        {name: failed[rows] for name, failed in data.fails.items()},
    )
    seen.check("training")
    return rows


def _example(families: Families) -> str:
    return wordings(next(iter(families.values())).statements[-1])[0]


def _write_scores(
    folder: Path,
    source: Source,
    held_out: CaptionedFrames,
    unseen: Sequence[str],
    facts: Mapping[str, Any],
) -> Scores:
    """Score the saved CLIP, and write ``metrics.json`` and the card.

    Args:
        folder: the folder with the weights.
        source: where the frames come from.
        held_out: the frames to score on.
        unseen: things that training did not name.
        facts: what is known from the training.
    """
    trained = CLIPEncoder.load(str(folder), device=_device(), precision="fp32")
    scores = score_families(trained, held_out, repeats=REPEATS)
    unseen_scores = score_families(trained, held_out, unseen, repeats=REPEATS) if unseen else {}
    frame = held_out.frames.shape[1:3]
    metrics: dict[str, Any] = {
        "encoder": facts["encoder"],
        "source": source.facts(),
        "settings": facts["settings"],
        "distinct_frames": facts["distinct_frames"],
        "held_out_frames_in_training": facts["held_out_frames_in_training"],
        "frame_size": [*frame],
        "statements": {name: [*each.statements] for name, each in held_out.families.items()},
        "templates": {
            name: {key: value for key, value in dataclasses.asdict(each).items() if value}
            for name, each in source.templates().items()
        },
        "parameters": _count(trained.model),
        "flops_per_frame": _flops(trained, held_out),
        "logit_scale": trained.logit_scale,
        **describe_texts(trained, held_out.families, unseen, facts["known_words"]),
        "fingerprint": trained.fingerprint,
        "train_seconds": facts["train_seconds"],
        "losses": facts["losses"],
        **({"note": facts["note"]} if "note" in facts else {}),
        **(_patch_metrics(trained, held_out, facts) if facts["settings"].get("patches") else {}),
        "held_out": {family: dataclasses.asdict(score) for family, score in scores.items()},
        "held_out_things": {
            family: dataclasses.asdict(score) for family, score in unseen_scores.items()
        },
    }
    write_text(folder / METRICS, json.dumps(metrics, indent=2) + "\n")
    write_card(folder, metrics)
    return scores


def _patch_metrics(
    trained: CLIPEncoder, held_out: CaptionedFrames, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Score the patches, also those of the CLIP before the training."""
    before = CLIPEncoder.load(facts["encoder"], device=_device(), precision="fp32")
    frames = np.asarray(held_out.frames)
    parts = np.array_split(frames, -(-len(frames) // 256))
    cosines = [(trained.encode_frames(p) * before.encode_frames(p)).sum(dim=1) for p in parts]
    return {
        "patches": {
            "words": [*words_of_things(held_out).statements],
            "scores": dataclasses.asdict(score_patches(trained, held_out)),
            "before": dataclasses.asdict(score_patches(before, held_out)),
            "cosine": float(torch.cat(cosines).mean()),
        }
    }


def describe_texts(
    encoder: CLIPEncoder,
    families: Families,
    held_out_things: Sequence[str] = (),
    known_words: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Return the words that training named, and the embedding of one of its statements.

    With these, a goal of other words is a warning, and a folder whose text settings are not those
    of the training is refused.

    Args:
        encoder: the trained CLIP.
        families: the statements of the training.
        held_out_things: things that training did not name.
        known_words: words that the CLIP knew before; None if it knew none. Empty if it knows more
            words than anybody listed: then there is no vocabulary.
    """
    named = [
        text
        for family in families.values()
        for statement in compress(family.statements, ~family.about(held_out_things))
        for text in wordings(statement)
    ]
    embedding = encoder.encode_texts(named[-1:])[0]
    words = {} if known_words == [] else {"vocabulary": words_of([*named, *(known_words or ())])}
    return {
        **words,
        "probe": {
            "text": named[-1],
            "embedding": [round(value, 5) for value in embedding.tolist()],
        },
    }


def _optimise(
    encoder: CLIPEncoder,
    name: str,
    data: CaptionedFrames,
    rows: Any,
    settings: Settings,
    work: _Work,
    report: Report,
) -> tuple[dict[str, float], float]:
    """Train the encoder, and return the last losses and the seconds that it took."""
    model = encoder.model.train()
    trained = (model.visual if settings.patches else model).requires_grad_(True)
    kind = "from nothing" if _is_new(name) else "fine-tuned"
    rate = settings.learning_rate or RATES["patches" if settings.patches else kind]
    unnamed = settings.held_out_things
    grounding = Grounding(encoder, data, unnamed) if settings.patches else None
    optimizer = _optimizer(trained, settings, rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, settings))
    state = work.state(encoder.device)
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    if state:
        for key, part in parts.items():
            part.load_state_dict(state[key])
    began = time.monotonic() - state.get("seconds", 0.0)
    weights, losses = data.weights(rows), dict(state.get("losses", {}))
    report(Progress("train", state.get("step", 0), settings.steps, losses))
    for step in range(state.get("step", 0) + 1, settings.steps + 1):
        # Seeded by the step, so that a training that goes on draws what it would have drawn.
        rng = np.random.default_rng((settings.seed, step))
        drawn = np.sort(rows[rng.choice(len(rows), settings.batch_size, p=weights)])
        if grounding is not None:
            each = grounding(drawn, rng)
        else:
            each = _losses(encoder, data, drawn, rng, unnamed)
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack(list(each.values())).sum())
        nn.utils.clip_grad_norm_(model.parameters(), settings.max_gradient_norm)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
        losses = {family: loss.item() for family, loss in each.items()}
        report(Progress("train", step, settings.steps, losses))
        done, seconds = step, time.monotonic() - began
        work.save(
            lambda: {
                **{key: part.state_dict() for key, part in parts.items()},
                **{"step": done, "seconds": seconds, "losses": losses},  # noqa: B023
            }
        )
    model.eval().requires_grad_(False)
    return losses, time.monotonic() - began


def _losses(
    encoder: CLIPEncoder,
    data: CaptionedFrames,
    rows: Any,
    rng: np.random.Generator,
    unnamed: Sequence[str],
) -> dict[str, Tensor]:
    texts: dict[str, list[str]] = {}
    truth: dict[str, tuple[Mask, Mask]] = {}
    for name, family in data.families.items():
        holds, fails = data.holds[name][rows], data.fails[name][rows]
        columns = _compared(holds, ~family.about(unnamed), rng)
        texts[name] = family.say(columns.tolist(), rng)
        truth[name] = holds[:, columns], fails[:, columns]
    tokens = encoder.tokenize([text for each in texts.values() for text in each])
    pixels = encoder.preprocess(np.asarray(data.frames[rows]))
    images = normalize(encoder.model.encode_image(pixels), dim=1)
    embedded = normalize(encoder.model.encode_text(tokens), dim=1)
    logits = encoder.model.logit_scale.exp() * images @ embedded.T
    parts = logits.split([len(each) for each in texts.values()], dim=1)
    return {
        name: contrast(part, *(torch.from_numpy(mask).to(part.device) for mask in truth[name]))
        for name, part in zip(texts, parts, strict=True)
    }


def _compared(holds: Mask, named: Mask, rng: np.random.Generator) -> Any:
    """Return the columns of a step: all that are named, or those that hold and some others."""
    columns = np.flatnonzero(named)
    if len(columns) <= MOST_STATEMENTS:
        return columns
    held = holds[:, columns].any(axis=0)
    rest = max(0, MOST_STATEMENTS - int(held.sum()))
    return np.sort(np.concatenate([columns[held], rng.permutation(columns[~held])[:rest]]))


def contrast(logits: Tensor, holds: Tensor, fails: Tensor) -> Tensor:
    """Return the cross entropy of each statement that holds against all that do not.

    For a frame with the true statements T and the false statements F of a family, this is the mean
    over t in T of -log(exp z_t / (exp z_t + Σ_{f in F} exp z_f)). True statements do not compete
    with each other ("a ball is next to a key", "a box is next to a key"), and unclear ones with
    none. If one statement excludes all others, the loss is the softmax cross entropy, whose
    probability is the paper's equation 1.

    Args:
        logits: float32 ``[B, S]``, logit_scale times cosine.
        holds: bool ``[B, S]``.
        fails: bool ``[B, S]``, nowhere True together with ``holds``.

    Returns:
        the mean over the frames of which at least one statement holds and one does not, float32
        scalar; 0 if there is no such frame.

    Example:
        >>> import torch
        >>> holds = torch.tensor([[True, False, False]])
        >>> round(contrast(torch.zeros(1, 3), holds, ~holds).item(), 4)  # log 3
        1.0986
    """
    usable = holds.any(dim=1) & fails.any(dim=1)
    if not usable.any():
        return logits.sum() * 0
    logits, holds, fails = logits[usable], holds[usable], fails[usable]
    against = logits.masked_fill(~fails, float("-inf")).logsumexp(dim=1, keepdim=True)
    each = softplus(against - logits) * holds
    return (each.sum(dim=1) / holds.sum(dim=1)).mean()


def _optimizer(model: nn.Module, settings: Settings, rate: float) -> torch.optim.Optimizer:
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        matrix = parameter.ndim > 1 and "embedding" not in name
        (decayed if matrix else others).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=BETAS)


def _rate(step: int, settings: Settings) -> float:
    warm = min(1.0, (step + 1) / settings.warmup_steps)
    return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / settings.steps)))


def _zero_untrained_words(encoder: CLIPEncoder, families: Families) -> None:
    """Zero the embeddings of words that no statement has, since training did not change them."""
    said = (text for family in families.values() for text in family.statements)
    trained = encoder.tokenize([text for each in said for text in wordings(each)])
    # A CustomTextCLIP has the text tower in `text`, a CLIP in itself.
    text = getattr(encoder.model, "text", encoder.model)
    if not hasattr(text, "token_embedding"):  # one of Hugging Face's
        return
    words = text.token_embedding.weight
    untrained = torch.ones(len(words), dtype=torch.bool)
    untrained[trained.flatten().cpu()] = False
    with torch.no_grad():
        words[untrained] = 0


def _flops(encoder: CLIPEncoder, data: CaptionedFrames) -> int:
    # The counter misses what torch fuses: nn.MultiheadAttention's fast path, which models with an
    # even number of heads take, and, in torch 2.14 on a CPU, scaled_dot_product_attention.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            encoder.encode_frames(np.asarray(data.frames[:1]))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return int(counter.get_total_flops())


def _count(model: Any) -> dict[str, int]:
    vision = sum(parameter.numel() for parameter in model.visual.parameters())
    total = sum(parameter.numel() for parameter in model.parameters())
    return {"vision": vision, "text": total - vision}
