"""Trains an embedded CLIP: plays, minimises a contrastive loss, scores and saves."""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus
from torch.utils.flop_counter import FlopCounterMode

from rllib_vlm_reward.envs.babyai.tiles import View, draw_tiles
from rllib_vlm_reward.files import replaced_file, write_text
from rllib_vlm_reward.pretraining.card import write_card
from rllib_vlm_reward.pretraining.dataset import Dataset, play
from rllib_vlm_reward.pretraining.scores import Scores, score_families
from rllib_vlm_reward.pretraining.statements import ARTICLES, FAMILIES, NAMES, Truth
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.spec import LAYOUT, METRICS, Spec
from rllib_vlm_reward.reward_model.tokens import words_of

__all__ = ["Progress", "Settings", "contrast", "describe_texts", "train_clip"]

CONFIG, WEIGHTS = LAYOUT
MAX_LOGIT_SCALE = math.log(100)  # CLIP's own bound, arXiv 2103.00020, section 2.5
REPEATS = 100  # resamples for the intervals of the held-out scores
BETAS = 0.9, 0.98


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a training; the shipped CLIPs were trained with the defaults.

    Attributes:
        num_frames: number of frames to play; training uses the distinct ones, about two thirds.
        steps: number of optimiser steps.
        batch_size: number of frames in a step.
        learning_rate: the peak of AdamW's learning rate, which rises for ``warmup_steps`` and
            then falls along half a cosine.
        warmup_steps: number of steps until the peak.
        weight_decay: weight decay of the matrices; embeddings, biases and norms have none.
        max_gradient_norm: larger gradients are scaled down to this norm.
        held_out_frames: number of frames to score on, from layouts that training never sees.
        held_out_things: things that training neither shows nor names, such as "green ball",
            although it shows their colours and kinds.
        seed: seed of play, batches and articles. CLIPEncoder seeds the initial weights.

    Raises:
        ValueError: there are too few held-out frames to score, or a held-out thing does not exist
            in any level.

    Example:
        >>> Settings(steps=500).batch_size
        128
    """

    num_frames: int = 100_000
    steps: int = 2_000
    batch_size: int = 128
    learning_rate: float = 1.5e-3
    warmup_steps: int = 100
    weight_decay: float = 0.05
    max_gradient_norm: float = 1.0
    held_out_frames: int = 10_000
    held_out_things: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if not {*self.held_out_things} <= {*NAMES}:
            raise ValueError(
                f"held_out_things: got {self.held_out_things}, expected some of {NAMES}."
            )
        if self.held_out_frames < 1_000:
            raise ValueError(
                f"held_out_frames: got {self.held_out_frames}, expected at least 1000. With fewer, "
                "a family may have no frame in which one of its statements holds."
            )


@dataclasses.dataclass(frozen=True)
class Progress:
    """The progress of :func:`train_clip`.

    Attributes:
        phase: ``play``, ``train`` or ``score``.
        step: number of steps done, of :attr:`Settings.steps`.
        losses: losses of the last step by family; empty before the first step.
    """

    phase: str
    step: int
    losses: dict[str, float]


def train_clip(
    architecture: str,
    output: Path,
    settings: Settings = Settings(),
    *,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Scores:
    """Train a CLIP on rendered BabyAI frames, and write it in open_clip's local-dir layout.

    The function also writes ``model_card.md`` and ``metrics.json``. Load the CLIP with
    ``CLIPEncoder.load(str(output))``. The scores are those of the saved weights, which are in half
    precision.

    Args:
        architecture: name of an embedded CLIP ("small", "base"), or path of an
            ``open_clip_config.json``.
        output: folder to write, created if it is missing; existing files are replaced.
        settings: the settings of the training.
        report: called when a phase begins, and after each step.

    Returns:
        Held-out scores by family.

    Raises:
        CheckpointError: the architecture is unknown, or open_clip cannot build it.
    """
    folder = architecture.removesuffix(f"/{CONFIG}")
    encoder = CLIPEncoder.load(f"{folder}/random", precision="fp32")
    output.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    report(Progress("play", 0, {}))
    unseen = settings.held_out_things
    data = Dataset.from_play(settings.num_frames, seed=settings.seed, reserved=unseen)
    losses = _optimise(encoder, data, settings, report)
    seconds = time.perf_counter() - began
    report(Progress("score", settings.steps, losses))
    _zero_untrained_words(encoder)
    _save(encoder, Path(Spec.parse(f"{folder}/random").model.removeprefix("local-dir:")), output)
    held_out = play(settings.held_out_frames, seed=settings.seed, held_out=True)
    trained = CLIPEncoder.load(str(output), precision="fp32")
    scores = score_families(trained, held_out, repeats=REPEATS)
    unseen_scores = score_families(trained, held_out, unseen, repeats=REPEATS) if unseen else {}
    metrics: dict[str, Any] = {
        "architecture": architecture,
        "settings": dataclasses.asdict(settings),
        "distinct_frames": len(data.views),
        "held_out_frames_in_training": data.share_of(held_out),
        "parameters": _count(trained.model),
        "flops_per_frame": _flops(trained),
        "logit_scale": trained.logit_scale,
        **describe_texts(trained, unseen),
        "fingerprint": trained.fingerprint,
        "train_seconds": round(seconds),
        "losses": losses,
        "held_out": {family: dataclasses.asdict(score) for family, score in scores.items()},
        "held_out_things": {
            family: dataclasses.asdict(score) for family, score in unseen_scores.items()
        },
    }
    write_text(output / METRICS, json.dumps(metrics, indent=2) + "\n")
    write_card(output, metrics)
    return scores


def describe_texts(encoder: CLIPEncoder, held_out_things: Sequence[str] = ()) -> dict[str, Any]:
    """Return the words that training named, and the embedding of one of its statements.

    With these, a goal of other words is a warning, and a folder whose text settings are not those
    of the training is refused.

    Args:
        encoder: the trained CLIP.
        held_out_things: things that training did not name.
    """
    named = [
        text
        for family in FAMILIES.values()
        for text in compress(family.without_articles(), ~family.about(held_out_things))
    ]
    embedding = encoder.encode_texts(named[-1:])[0]
    return {
        "vocabulary": words_of([*named, *ARTICLES]),
        "probe": {
            "text": named[-1],
            "embedding": [round(value, 5) for value in embedding.tolist()],
        },
    }


def _optimise(
    encoder: CLIPEncoder, data: Dataset, settings: Settings, report: Callable[[Progress], None]
) -> dict[str, float]:
    model = encoder.model.train().requires_grad_(True)
    rng = np.random.default_rng(settings.seed)
    optimizer = _optimizer(model, settings)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, settings))
    losses: dict[str, float] = {}
    for step in range(1, settings.steps + 1):
        views, holds = data.sample(settings.batch_size, rng)
        each = _losses(encoder, views, holds, rng, settings.held_out_things)
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack(list(each.values())).sum())
        nn.utils.clip_grad_norm_(model.parameters(), settings.max_gradient_norm)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
        losses = {family: loss.item() for family, loss in each.items()}
        report(Progress("train", step, losses))
    model.eval()
    return losses


def _losses(
    encoder: CLIPEncoder,
    views: View,
    holds: Truth,
    rng: np.random.Generator,
    unnamed: Sequence[str],
) -> dict[str, Tensor]:
    named = {name: ~family.about(unnamed) for name, family in FAMILIES.items()}
    statements = {
        name: [*compress(family.with_articles(rng), named[name])]
        for name, family in FAMILIES.items()
    }
    tokens = encoder.tokenize([text for texts in statements.values() for text in texts])
    images = normalize(encoder.model.encode_image(encoder.preprocess(draw_tiles(views))), dim=1)
    texts = normalize(encoder.model.encode_text(tokens), dim=1)
    logits = encoder.model.logit_scale.exp() * images @ texts.T
    parts = logits.split([len(texts) for texts in statements.values()], dim=1)
    return {
        name: contrast(part, torch.from_numpy(holds[name][:, named[name]]).to(part.device))
        for name, part in zip(statements, parts, strict=True)
    }


def contrast(logits: Tensor, holds: Tensor) -> Tensor:
    """Return the cross entropy of each statement that holds against all that do not.

    For a frame with the true statements T and the false statements F of a family, this is the mean
    over t in T of -log(exp z_t / (exp z_t + Σ_{f in F} exp z_f)). True statements do not compete
    with each other ("a ball is next to a key" and "a key is next to a ball"). If one statement
    excludes all others, the loss is the softmax cross entropy, whose probability is the paper's
    equation 1.

    Args:
        logits: float32 ``[B, S]``, logit_scale times cosine.
        holds: bool ``[B, S]``, at least one True and one False in each row.

    Returns:
        the mean over frames, float32 scalar.

    Example:
        >>> import torch
        >>> holds = torch.tensor([[True, False, False]])
        >>> round(contrast(torch.zeros(1, 3), holds).item(), 4)  # log 3
        1.0986
    """
    against = logits.masked_fill(holds, float("-inf")).logsumexp(dim=1, keepdim=True)
    each = softplus(against - logits) * holds
    return (each.sum(dim=1) / holds.sum(dim=1)).mean()


def _optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        matrix = parameter.ndim > 1 and "embedding" not in name
        (decayed if matrix else others).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=BETAS)


def _rate(step: int, settings: Settings) -> float:
    warm = min(1.0, (step + 1) / settings.warmup_steps)
    return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / settings.steps)))


def _zero_untrained_words(encoder: CLIPEncoder) -> None:
    """Zero the embeddings of words that no statement has, since training did not change them."""
    statements = [text for family in FAMILIES.values() for text in family.without_articles()]
    trained = encoder.tokenize([*statements, *ARTICLES])
    # A CustomTextCLIP has the text tower in `text`, a CLIP in itself.
    text = getattr(encoder.model, "text", encoder.model)
    words = text.token_embedding.weight
    untrained = torch.ones(len(words), dtype=torch.bool)
    untrained[trained.flatten()] = False
    with torch.no_grad():
        words[untrained] = 0


def _save(encoder: CLIPEncoder, source: Path, output: Path) -> None:
    weights = {
        name: value.half().contiguous() for name, value in encoder.model.state_dict().items()
    }
    with replaced_file(output / WEIGHTS) as fresh:
        safetensors.torch.save_file(weights, fresh)
    if (source / CONFIG).resolve() != (output / CONFIG).resolve():
        write_text(output / CONFIG, (source / CONFIG).read_text())


def _flops(encoder: CLIPEncoder) -> int:
    # The counter (torch 2.15) does not count fused attention, which models with an even number of
    # heads use.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter:
            encoder.encode_frames(draw_tiles(np.ones((1, 7, 7, 3), np.uint8)))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return int(counter.get_total_flops())


def _count(model: Any) -> dict[str, int]:
    vision = sum(parameter.numel() for parameter in model.visual.parameters())
    total = sum(parameter.numel() for parameter in model.parameters())
    return {"vision": vision, "text": total - vision}
