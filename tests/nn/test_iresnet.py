"""IR stages by their formula, their sizes and IR-50's count."""

from __future__ import annotations

import torch

from mien.nn.iresnet import ImprovedBlock, ImprovedStages


def test_a_block_of_equal_channels_adds_every_second_pixel() -> None:
    torch.manual_seed(0)
    block = ImprovedBlock(4, 4, 2).eval()
    last = block.body[4]
    assert isinstance(last, torch.nn.BatchNorm2d)
    torch.nn.init.zeros_(last.weight)
    x = torch.randn(2, 4, 6, 8)
    torch.testing.assert_close(block(x), x[:, :, ::2, ::2])


def test_stages_halve_the_picture_each() -> None:
    maps = ImprovedStages(3, (4, 6, 8), (1, 2, 1))(torch.rand(2, 3, 32, 48))
    assert [tuple(made.shape) for made in maps] == [(2, 4, 16, 24), (2, 6, 8, 12), (2, 8, 4, 6)]


def test_ir50_has_the_parameters_of_its_layers() -> None:
    with torch.device("meta"):
        net = ImprovedStages(3, (64, 128, 256, 512), (3, 4, 14, 3))
    expected = 3 * 64 * 9 + 3 * 64
    inputs = 64
    for width, depth in ((64, 3), (128, 4), (256, 14), (512, 3)):
        for _ in range(depth):
            expected += 2 * inputs + 9 * inputs * width + width + 9 * width * width + 2 * width
            expected += inputs * width + 2 * width if inputs != width else 0
            inputs = width
    assert sum(p.numel() for p in net.parameters()) == expected
    # with face.evoLVe's head (norm, 512 x 7 x 7 to 512, norm) it is the IR-50 of 43.57 M parameters
    assert round((expected + 2 * 512 + 512 * 49 * 512 + 512 + 2 * 512) / 1e6, 2) == 43.57
