"""POSTER++ against its attention written out, its published counts, and what may learn from what."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from mien.core.crops import TEMPLATES
from mien.core.labels import FER2013_EXPRESSIONS
from mien.systems.expression import poster_pp
from mien.systems.expression.poster_pp import RECIPES, Config, Fusion, Network, WindowCrossAttention

TINY = RECIPES["tiny"]


def faces(count: int, config: Config, channels: int = 1) -> Tensor:
    return torch.rand(count, channels, config.size, config.size) * 255


def by_hand(layer: WindowCrossAttention, image: Tensor, queries: Tensor | None) -> Tensor:
    """Return the attention place by place: each window, head, asking place and place that answers."""
    n, height, width, channels = image.shape
    side, d = layer.window, channels // layer.heads
    made = torch.zeros_like(image)
    for picture in range(n):
        for top in range(0, height, side):
            for left in range(0, width, side):
                places = [(y, x) for y in range(side) for x in range(side)]
                here = {(y, x): image[picture, top + y, left + x] for y, x in places}
                pairs = {
                    place: layer.key_value.weight @ f + layer.key_value.bias for place, f in here.items()
                }
                for head in range(layer.heads):
                    part = slice(head * d, (head + 1) * d)
                    for qy, qx in places:
                        asks = here[qy, qx] if queries is None else queries[picture, qy, qx]
                        scores = []
                        for ky, kx in places:
                            row = (qy - ky + side - 1) * (2 * side - 1) + qx - kx + side - 1
                            product = (asks[part] * pairs[ky, kx][:channels][part]).sum()
                            scores.append(product / d**0.5 + layer.bias[row, head])
                        weights = torch.stack(scores).exp()
                        values = torch.stack([pairs[place][channels:][part] for place in places])
                        mean = (weights[:, None] * values).sum(dim=0) / weights.sum()
                        made[picture, top + qy, left + qx, part] = mean
    return made @ layer.project.weight.T + layer.project.bias


@pytest.mark.parametrize("asked", ["landmarks", "itself"])
@torch.no_grad()
def test_window_attention_is_its_formula_place_by_place(asked: str) -> None:
    torch.manual_seed(0)
    layer = WindowCrossAttention(6, heads=2, window=2)
    nn.init.normal_(layer.bias)  # large enough to be seen
    image = torch.randn(2, 4, 6, 6)
    queries = torch.randn(2, 2, 2, 6) if asked == "landmarks" else None
    torch.testing.assert_close(layer(image, queries), by_hand(layer, image, queries))


@torch.no_grad()
def test_a_window_sees_nothing_of_the_others() -> None:
    torch.manual_seed(0)
    layer = WindowCrossAttention(8, heads=2, window=3)
    image, queries = torch.randn(1, 6, 9, 8), torch.randn(1, 3, 3, 8)
    other = image.clone()
    other[0, 4, 7] += 1
    changed = (layer(image, queries) != layer(other, queries)).any(dim=-1)[0]
    expected = torch.zeros(6, 9, dtype=torch.bool)
    expected[3:6, 6:9] = True
    assert torch.equal(changed, expected)


@torch.no_grad()
def test_all_windows_are_asked_by_the_whole_face_brought_to_their_size() -> None:
    torch.manual_seed(0)
    layer = Fusion(8, heads=2, window=3, layer_scale=1.0, drop_path=0.0)
    window = torch.randn(1, 8, 3, 3)
    landmarks = torch.randn(1, 8, 6, 6)
    made = layer(window.repeat(1, 1, 2, 2), landmarks)
    # windows that hold the same answer the same
    torch.testing.assert_close(made, made[:, :, :3, :3].repeat(1, 1, 2, 2))
    means = functional.avg_pool2d(landmarks, 2)
    torch.testing.assert_close(made[:, :, :3, :3], layer(window, means))


def test_dropped_branches_are_whole_faces_and_keep_the_mean() -> None:
    torch.manual_seed(0)
    layer = Fusion(4, heads=1, window=1, layer_scale=1.0, drop_path=0.25).train()
    kept = layer._dropped(torch.ones(4000, 2, 2, 4))
    assert torch.equal(kept.amin(dim=(1, 2, 3)), kept.amax(dim=(1, 2, 3)))
    assert {round(value, 4) for value in set(kept.flatten().tolist())} == {0.0, round(1 / 0.75, 4)}
    assert float(kept.mean()) == pytest.approx(1, abs=0.03)
    assert torch.equal(layer.eval()._dropped(torch.ones(3, 2, 2, 4)), torch.ones(3, 2, 2, 4))


def test_the_papers_network_has_its_published_counts() -> None:
    config = RECIPES["paper"]
    with torch.device("meta"):
        net = Network(config)
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 3, 224, 224))
    # "43.7M parameters", as the authors' counter sees them: those of layers, not the single ones (tokens,
    # tables of biases and scales), which make 125,646 more
    single = sum(
        parameter.numel()
        for module in net.modules()
        if isinstance(module, (Network, Fusion, WindowCrossAttention))
        for parameter in module.parameters(recurse=False)
    )
    every = sum(parameter.numel() for parameter in net.parameters())
    assert (every, single) == (43_849_957, 125_646)
    assert round((every - single) / 1e6, 1) == 43.7
    # "8.4G floating point operations" are multiply-adds of the convolutions and matrices; products of
    # queries, keys and values, which that counter does not see either, are 0.16 G more
    counts = {str(kind): flops / 2e9 for kind, flops in counter.get_flop_counts()["Global"].items()}
    layers = counts["aten.convolution"] + counts["aten.addmm"]
    assert round(layers, 1) == 8.4
    assert counter.get_total_flops() / 2e9 == pytest.approx(8.592, abs=0.001)


def test_expressions_teach_the_landmark_network_nothing() -> None:
    torch.manual_seed(0)
    net = Network(TINY)
    pixels = faces(4, TINY)
    torch.autograd.backward(functional.cross_entropy(net(pixels), torch.tensor([0, 1, 2, 3])))
    assert net.landmarks is not None
    assert all(parameter.grad is None for parameter in net.landmarks.parameters())
    rest = {name: p for name, p in net.named_parameters() if not name.startswith("landmarks.")}
    assert all(p.grad is not None and bool(p.grad.any()) for p in rest.values())


def test_landmarks_teach_the_landmark_network_alone() -> None:
    torch.manual_seed(0)
    net = Network(TINY)
    torch.autograd.backward(net.found(faces(4, TINY)).square().mean())
    taught = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None}
    assert taught == {"landmarks"}


@torch.no_grad()
def test_what_the_landmark_network_sees_decides_and_the_image_arm_has_none() -> None:
    torch.manual_seed(0)
    net = Network(replace(TINY, layer_scale=1.0)).eval()
    pixels = faces(2, TINY)
    before = net(pixels)
    assert net.landmarks is not None
    for parameter in net.landmarks.parameters():
        parameter.add_(torch.randn_like(parameter))
    assert not torch.allclose(net(pixels), before, atol=1e-4)
    alone = Network(replace(TINY, queries="image"))
    assert not any("landmarks" in name or "query" in name for name, _ in alone.named_parameters())


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_gives_a_logit_for_each_expression(name: str) -> None:
    config = RECIPES[name]
    with torch.device("meta"):
        net = Network(config).eval()
        for channels in (1, 3):
            assert net(faces(2, config, channels)).shape == (2, len(FER2013_EXPRESSIONS))


@torch.no_grad()
def test_both_backbones_see_every_second_pixel_of_224() -> None:
    config = replace(TINY, size=2 * TINY.side)
    pixels = faces(1, config, channels=3)
    net = Network(config)
    torch.testing.assert_close(net.seen(pixels), net.colours(pixels[:, :, ::2, ::2]))


def test_its_points_are_those_of_the_template_that_aligns_by_the_mesh() -> None:
    points = poster_pp.VERTICES
    assert len(points) == len(set(points)) == 68
    assert (*points[27:55], *points[60:65]) == TEMPLATES["dlib"].vertices


def test_the_landmark_loss_is_over_the_faces_that_have_any() -> None:
    torch.manual_seed(0)
    found, known = torch.rand(4, 5, 2), torch.rand(4, 5, 2)
    known[1] = torch.nan
    known[3] = torch.nan
    literal = sum(
        float(sum(abs(found[i, p, c] - known[i, p, c]) for p in range(5) for c in range(2))) for i in (0, 2)
    )
    assert float(poster_pp.landmark_loss(found, known)) == pytest.approx(literal / (2 * 5 * 2))
    nobody = poster_pp.landmark_loss(found.requires_grad_(), torch.full_like(known, torch.nan))
    (gradient,) = torch.autograd.grad(nobody, found)
    assert nobody.item() == 0
    assert not gradient.any()
