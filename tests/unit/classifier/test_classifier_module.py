"""Sums over an epoch against torchmetrics, scores of images, and arithmetic of the classifier."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import top_k_accuracy_score
from torchmetrics.classification import MulticlassAccuracy

from seedml.classifier.data import Batch
from seedml.classifier.module import EpochSums, ImageScores, SeedClassifier, places
from seedml.noise import generator

CLASSES, IMAGES = 9, 200


@pytest.fixture
def answers():
    source = generator(0)
    labels = torch.randint(CLASSES, (IMAGES,), generator=source)
    logits = torch.randn(IMAGES, CLASSES, generator=source)
    logits[torch.arange(IMAGES), labels] += 1
    return logits, labels


def test_sums_over_batches_are_those_of_torchmetrics_and_scikit_learn(answers):
    logits, labels = answers
    sums = EpochSums(top=3)
    losses = []
    for start, end in ((0, 70), (70, 75), (75, 200)):
        loss = torch.nn.functional.cross_entropy(logits[start:end], labels[start:end])
        sums.update(loss, logits[start:end], labels[start:end])
        losses.append(loss * (end - start))
    found = sums.compute()
    assert found["loss"] == pytest.approx(float(sum(losses)) / IMAGES, rel=1e-6)
    assert found["accuracy"] == MulticlassAccuracy(CLASSES, average="micro")(logits, labels)
    top = top_k_accuracy_score(labels.numpy(), logits.numpy(), k=3, labels=np.arange(CLASSES))
    assert found["top3_accuracy"] == pytest.approx(top)
    assert 0.2 < found["accuracy"] < found["top3_accuracy"] < 0.9


def test_sums_go_on_from_those_of_a_checkpoint(answers):
    logits, labels = answers
    whole, first, second = EpochSums(5), EpochSums(5), EpochSums(5)
    for sums, part in ((whole, slice(0, 60)), (first, slice(0, 60)), (whole, slice(60, 200))):
        sums.update(torch.tensor(0.5), logits[part], labels[part])
    second.continue_from(first.over_processes())
    second.update(torch.tensor(0.5), logits[60:], labels[60:])
    assert second.compute() == whole.compute()


def test_ties_and_nan_count_against_the_truth():
    nan = float("nan")
    logits = torch.tensor([[1.0, 1.0, 0.0], [nan, 2.0, 1.0], [nan, nan, nan], [3.0, 2.0, 1.0]])
    assert places(logits, torch.tensor([0, 1, 2, 0])).tolist() == [1, 1, 2, 0]


def test_every_image_has_to_be_seen_exactly_once(answers):
    logits, labels = answers
    images = torch.zeros(IMAGES, 3, 1, 1, dtype=torch.uint8)
    scores = ImageScores(IMAGES)
    order = torch.randperm(IMAGES, generator=generator(2))
    for rows in order.split(64):
        scores.update(logits[rows], Batch(images[rows], labels[rows], rows))
    found = scores.compute()
    assert found.predicted.tolist() == logits.argmax(1).tolist()
    assert found.place.tolist() == places(logits, labels).tolist()
    assert found.probability == pytest.approx(logits.softmax(1)[torch.arange(IMAGES), labels].numpy(), abs=1e-6)
    scores.update(logits[:1], Batch(images[:1], labels[:1], torch.tensor([0])))
    scores._computed = None
    with pytest.raises(AssertionError, match="exactly once"):
        scores.compute()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_may_be_of_another_type(dtype):
    module = SeedClassifier("resnet18", [0, 1, 2], image_size=16).to(dtype).eval()
    logits = module(torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8, generator=generator(3)))
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


def test_label_smoothing_spreads_the_target():
    images = torch.randint(256, (4, 3, 16, 16), dtype=torch.uint8, generator=generator(4))
    batch = Batch(images, torch.tensor([0, 1, 2, 0]), torch.arange(4))
    module = SeedClassifier("resnet18", [0, 1, 2], image_size=16, label_smoothing=0.3).eval()
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    logarithms = module(images).log_softmax(1)
    target = torch.nn.functional.one_hot(batch.labels, 3) * 0.7 + 0.1
    assert module.training_step(batch, 0).item() == pytest.approx(-(target * logarithms).sum(1).mean().item(), rel=1e-5)
