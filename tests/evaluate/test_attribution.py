"""Grad-CAM against its equations written out, and the sheet that shows it."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from mien.core.crops import Crop
from mien.evaluate import attribution
from mien.systems.expression.gimefive import EMOTIONS, RECIPES, GiMeFive


def lab() -> GiMeFive:
    torch.manual_seed(0)
    made = GiMeFive(RECIPES["cpu"])
    made.net.eval()
    return made


def test_grad_cam_is_the_equations_by_hand() -> None:
    made = lab()
    pixels = torch.rand(2, 1, 64, 64) * 255
    kept: list[torch.Tensor] = []
    handle = made.explained.register_forward_hook(lambda layer, given, maps: kept.append(maps))
    logits = made.net(pixels)
    handle.remove()
    found = attribution.grad_cam(made.net, made.explained, pixels, len(EMOTIONS))
    for target in range(len(EMOTIONS)):
        (slope,) = torch.autograd.grad(logits[:, target].sum(), kept[0], retain_graph=True)
        weight = slope.mean(dim=(2, 3), keepdim=True)  # Eq. 1
        expected = (weight * kept[0]).sum(dim=1, keepdim=True).relu()  # Eq. 2
        expected = functional.interpolate(expected, (64, 64), mode="bilinear")
        torch.testing.assert_close(found[:, target], expected[:, 0])
    assert float(found.max()) > 0


def test_saliency_is_the_slope_of_a_logit_at_each_pixel() -> None:
    made = lab()
    pixels = torch.rand(2, 1, 48, 48) * 255
    found = attribution.saliency(made.net, pixels, len(EMOTIONS))
    leaf = pixels.clone().requires_grad_()
    for target in range(len(EMOTIONS)):
        (slope,) = torch.autograd.grad(made.net(leaf)[:, target].sum(), leaf)
        torch.testing.assert_close(found[:, target], slope.abs()[:, 0])
    told = attribution.explain(made, pixels.numpy(), "saliency")
    assert float(told.heat.max()) == 1
    assert not np.allclose(told.heat, attribution.explain(made, pixels.numpy()).heat)


def test_an_explanation_has_the_networks_probabilities_and_maps_from_0_to_1() -> None:
    made = lab()
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 1, 48, 48)).astype(np.float32)
    told = attribution.explain(made, pixels)
    expected = made.net(torch.as_tensor(pixels)).softmax(dim=1).detach().numpy()
    np.testing.assert_allclose(told.probabilities, expected, rtol=1e-5)
    assert told.heat.shape == (3, 6, 48, 48)
    assert set(np.unique(told.heat.max(axis=(2, 3)))) <= {np.float32(0), np.float32(1)}
    assert len(told.blocks) == 5
    assert all(block.min() == 0 and block.max() == 1 for block in told.blocks)


def test_the_sheet_is_red_where_the_heat_is() -> None:
    heat = np.zeros((1, 1, 48, 48), np.float32)
    heat[0, 0, :24] = 1
    grey = np.full((1, 48, 48), 128, np.float32)
    told = attribution.Explanation(("joy",), grey, np.ones((1, 1), np.float32), heat, (heat[:, 0],))
    image = np.asarray(attribution.sheet(told, ["face 0"])).astype(int)
    face = image[:144, 144:288]
    assert face[40, 70, 0] > face[40, 70, 2] + 60
    assert face[110, 70, 2] > face[110, 70, 0] + 60


def test_the_strongest_class_has_the_map_that_an_explanation_has_of_it() -> None:
    made = lab()
    pixels = np.random.default_rng(1).uniform(0, 255, (4, 1, 48, 48)).astype(np.float32)
    for method in attribution.METHODS:
        told = attribution.explain(made, pixels, method)
        short = attribution.strongest(made, pixels, method)
        np.testing.assert_allclose(short.probabilities, told.probabilities, rtol=1e-5)
        best = told.probabilities.argmax(axis=1)
        np.testing.assert_allclose(short.heat, told.heat[np.arange(4), best], atol=1e-4)


def test_heat_lies_on_the_part_of_the_picture_that_its_crop_shows() -> None:
    picture = np.full((120, 160, 3), 100, np.uint8)
    boxes = np.array([[40, 20, 80, 60], [130, 90, 170, 130]], np.float32)  # the second hangs over the edge
    crop = Crop("box", 48, 48, scale=1.0)
    matrices = crop.matrices({"boxes": boxes}, (160, 120))[:, 0]
    heat = np.zeros((2, 48, 48), np.float32)
    heat[0, :, 24:] = 1  # the right half
    heat[1, :24] = 1  # the upper half
    made = attribution.lay(picture, heat, matrices).astype(int)
    changed = np.abs(made - picture).max(axis=2)
    assert changed[22:58, 62:78].min() > 60
    assert changed[20:60, 40:58].max() == 0
    assert changed[92:108, 132:158].min() > 60
    outside = np.ones((120, 160), bool)
    outside[20:60, 40:80] = outside[90:, 130:] = False
    assert changed[outside].max() == 0
    assert made[40, 70, 0] > made[40, 70, 2] + 60  # red is hot
    nothing = attribution.lay(picture, 0 * heat, matrices)
    np.testing.assert_array_equal(nothing, picture)
    away = crop.matrices({"boxes": boxes + 500}, (160, 120))[:, 0]
    np.testing.assert_array_equal(attribution.lay(picture, heat, away), picture)
