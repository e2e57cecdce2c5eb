"""FER-CNN's networks and what they show of themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional
from torch.utils.data import TensorDataset

from mien.data.augment import zoomed
from mien.evaluate import attribution
from mien.systems.expression.fer_cnn import RECIPES, FerCnn, Residual


@pytest.mark.parametrize("name", ["cpu", "residual"])
def test_grad_cam_looks_at_maps_that_the_logits_come_from(name: str) -> None:
    torch.manual_seed(0)
    lab = FerCnn(RECIPES[name]).eval()
    side = RECIPES[name].size
    pixels = torch.rand(2, 1, side, side) * 255
    kept: list[torch.Tensor] = []
    handle = lab.explained.register_forward_hook(lambda layer, given, maps: kept.append(maps))
    logits = lab.net(pixels)
    handle.remove()
    assert kept[0].ndim == 4
    if isinstance(lab.net, Residual):
        torch.testing.assert_close(lab.net.head(kept[0].mean(dim=(2, 3))), logits)
        torch.testing.assert_close(lab.activations(pixels)[-1], kept[0])
        assert len(lab.activations(pixels)) == 6
    else:
        torch.testing.assert_close(lab.net.vgg.head(kept[0]), logits)
        last = lab.activations(pixels)[-1]
        torch.testing.assert_close(functional.max_pool2d(last, 2), kept[0])
        assert [maps.shape[1] for maps in lab.activations(pixels)] == [8, 16, 32, 64]
    told = attribution.explain(lab, pixels.numpy(), "saliency")
    assert told.heat.shape == (2, 7, side, side)


def test_a_mirrored_face_has_the_same_probabilities() -> None:
    torch.manual_seed(0)
    lab = FerCnn(replace(RECIPES["tiny"], mirrored=True)).eval()
    pixels = torch.rand(3, 1, 32, 32) * 255
    torch.testing.assert_close(lab.predict((pixels,)), lab.predict((pixels.flip(-1),)))
    plain = FerCnn(RECIPES["tiny"]).eval()
    assert not torch.allclose(plain.predict((pixels,)), plain.predict((pixels.flip(-1),)))


def test_smoothed_labels_are_the_mixture_written_out() -> None:
    torch.manual_seed(0)
    lab = FerCnn(replace(RECIPES["tiny"], smoothing=0.1, dropout=0.0)).eval()
    lab.log = lambda *given, **named: None  # type: ignore[method-assign]
    lab.jitter = lambda pixels: pixels.float()  # type: ignore[assignment]
    pixels, labels = torch.rand(4, 1, 32, 32) * 255, torch.tensor([0, 3, 6, 3])
    logs = lab.net(pixels).log_softmax(dim=1)
    right = logs[range(4), labels].mean()
    expected = -0.9 * right - 0.1 * logs.mean()
    torch.testing.assert_close(lab.training_step((pixels, labels), 0), expected)


def test_zooms_are_of_test_rows_alone() -> None:
    torch.manual_seed(0)
    lab = FerCnn(replace(RECIPES["tiny"], zooms=(1.0, 1.25), mirrored=True)).eval()
    pixels = torch.rand(6, 1, 32, 32) * 255
    batch = (pixels, torch.zeros(6, dtype=torch.long))
    with torch.no_grad():
        logits = torch.stack([lab.net(pixels), lab.net(zoomed(pixels, 1.25))])
        logits += torch.stack([lab.net(pixels.flip(-1)), lab.net(zoomed(pixels, 1.25).flip(-1))])
        plain = torch.softmax((lab.net(pixels) + lab.net(pixels.flip(-1))) / 2, dim=1)
        torch.testing.assert_close(lab.predict(batch), plain)
    _, tested = lab.predictions(TensorDataset(*batch))
    torch.testing.assert_close(torch.as_tensor(tested), torch.softmax(logits.mean(dim=0) / 2, dim=1))
    torch.testing.assert_close(lab.predict(batch), plain)
