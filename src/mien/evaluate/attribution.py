"""Shows where a network looks: heat for each class and the activations of its blocks, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from captum.attr import LayerAttribution, LayerGradCam, Saliency
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from mien.core.geometry import invert
from mien.core.picture import Pixels

Floats = npt.NDArray[np.float32]

Method = Literal["grad-cam", "saliency"]
METHODS: tuple[Method, ...] = get_args(Method)
"""How heat is found: at the places of a layer, or at the pixels themselves."""

# Side of a face on the sheet, px, and of the line of text below it.
_SIDE, _LINE = 144, 22
# From no influence to the most: clear blue, yellow, red.
_RAMP = np.array([[40, 60, 200], [60, 200, 190], [250, 220, 60], [220, 40, 30]], np.float32)
_STRENGTH = 0.55


@runtime_checkable
class Explainable(Protocol):
    """What a system gives whose decisions can be shown."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the network's outputs."""

    @property
    def net(self) -> nn.Module:
        """The network: (n, c) logits of (n, 1, H, W) grey faces of 0..255."""

    @property
    def explained(self) -> nn.Module:
        """The layer that Grad-CAM looks at."""

    def activations(self, pixels: Tensor) -> list[Tensor]:
        """Return (n, channels, h, w) of each block."""


@dataclass(frozen=True)
class Explanation:
    """What a network makes of n faces.

    Attributes:
        classes: c names.
        pixels: (n, H, W) the grey faces as it saw them, 0..255.
        probabilities: (n, c).
        heat: (n, c, H, W), the largest of each map 1; all 0 where nothing speaks for the class.
        blocks: (n, H, W) for each block, its channels' mean, from 0 to 1 over each face.
    """

    classes: tuple[str, ...]
    pixels: Floats
    probabilities: Floats
    heat: Floats
    blocks: tuple[Floats, ...]


@dataclass(frozen=True)
class Strongest:
    """What a network takes n faces for, and what speaks for that.

    Attributes:
        probabilities: (n, c).
        heat: (n, H, W) for the most probable class, as `Explanation.heat`.
    """

    probabilities: Floats
    heat: Floats


def grad_cam(net: nn.Module, layer: nn.Module, pixels: Tensor, count: int) -> Tensor:
    """Return Grad-CAM (Selvaraju et al. 2017, Eq. 1 and 2) for each class, by captum.

    Args:
        net: gives (n, count) logits; in evaluation mode.
        layer: of `net`, gives maps.
        pixels: (n, C, H, W).
        count: number of classes.

    Returns:
        (n, count, H, W), 0 and more, enlarged from the layer's places.
    """
    method = LayerGradCam(net, layer)
    return torch.cat([_mapped(method, pixels, target) for target in range(count)], dim=1)


def _mapped(method: LayerGradCam, pixels: Tensor, target: int | Tensor) -> Tensor:
    """Return (n, 1, H, W) for a class, or for one of each face."""
    maps = method.attribute(pixels, target=target, relu_attributions=True)
    large: Tensor = LayerAttribution.interpolate(maps, tuple(pixels.shape[-2:]), "bilinear")
    return large.detach()


def saliency(net: nn.Module, pixels: Tensor, count: int) -> Tensor:
    """Return |d logit / d pixel| for each class, by captum (Simonyan et al. 2013, arXiv 1312.6034, 3.1).

    Args:
        net: gives (n, count) logits; in evaluation mode.
        pixels: (n, C, H, W); the largest of the channels counts.
        count: number of classes.

    Returns:
        (n, count, H, W).
    """
    method = Saliency(net)
    leaf = pixels.clone().requires_grad_()
    maps = [method.attribute(leaf, target=target).amax(dim=1) for target in range(count)]
    return torch.stack(maps, dim=1).detach()


def explain(lab: Explainable, pixels: Floats, method: Method = "grad-cam") -> Explanation:
    """Return what a trained system makes of (n, 1, H, W) grey faces of 0..255, n at least 1."""
    lab.net.eval()
    faces = torch.as_tensor(pixels)
    with torch.no_grad():
        probabilities = lab.net(faces).softmax(dim=1)
        made = [block.mean(dim=1, keepdim=True) for block in lab.activations(faces)]
    size = tuple(faces.shape[-2:])
    blocks = [LayerAttribution.interpolate(block, size, "bilinear")[:, 0] for block in made]
    if method == "saliency":
        heat = saliency(lab.net, faces, len(lab.classes))
    else:
        heat = grad_cam(lab.net, lab.explained, faces, len(lab.classes))
    return Explanation(
        lab.classes,
        pixels[:, 0],
        probabilities.numpy(),
        _scaled(heat.numpy(), 0.0),
        tuple(_scaled(block.numpy()) for block in blocks),
    )


def strongest(lab: Explainable, pixels: Floats, method: Method = "grad-cam") -> Strongest:
    """Return what a trained system takes (n, 1, H, W) grey faces of 0..255 for, n at least 1, and why.

    The maps are those of `explain` for that class, at the cost of one class.
    """
    lab.net.eval()
    faces = torch.as_tensor(pixels)
    with torch.no_grad():
        probabilities = lab.net(faces).softmax(dim=1)
    best = probabilities.argmax(dim=1)
    if method == "saliency":
        heat = Saliency(lab.net).attribute(faces.clone().requires_grad_(), target=best).amax(dim=1).detach()
    else:
        heat = _mapped(LayerGradCam(lab.net, lab.explained), faces, best)[:, 0]
    return Strongest(probabilities.numpy(), _scaled(heat.numpy(), 0.0))


def lay(picture: Pixels, heat: Floats, matrices: npt.NDArray[np.float64]) -> Pixels:
    """Return a picture with the heat of its faces on it, as strong as it is hot: none leaves it as it was.

    Args:
        picture: (H, W, 3) RGB.
        heat: (n, h, w) from 0 to 1 over the crop of each face.
        matrices: (n, 2, 3) from picture pixels to crop pixels, as `mien.core.crops.Crop.matrices` makes them.
    """
    made = picture.astype(np.float32)
    high, wide = picture.shape[:2]
    for one, matrix in zip(heat, matrices, strict=True):
        down, right = one.shape
        corners = np.array([[0, 0, 1], [right, 0, 1], [0, down, 1], [right, down, 1]]) @ invert(matrix).T
        left, top = np.clip(np.floor(corners.min(axis=0)), 0, (wide, high)).astype(int)
        x2, y2 = np.clip(np.ceil(corners.max(axis=0)), 0, (wide, high)).astype(int)
        if x2 <= left or y2 <= top:
            continue
        moved = matrix.copy()
        moved[:, 2] += matrix[:, :2] @ (left, top)
        size = (int(x2 - left), int(y2 - top))
        layer = Image.fromarray(one).transform(
            size, Image.Transform.AFFINE, moved.ravel().tolist(), Image.Resampling.BILINEAR
        )
        places = np.asarray(layer)[..., None]
        part = made[top:y2, left:x2]
        part += (2 * _STRENGTH * places).clip(0, 0.8) * (_coloured(places[..., 0]) - part)
    return made.round().clip(0, 255).astype(np.uint8)


def sheet(explanation: Explanation, names: Sequence[str]) -> Image.Image:
    """Return a picture: for each face, a row of the heat over the face a class, and a row of the blocks.

    Args:
        explanation: of n faces.
        names: n captions of the faces as they are.
    """
    classes, blocks = explanation.classes, explanation.blocks
    across = 1 + max(len(classes), len(blocks))
    high = 2 * (_SIDE + _LINE)
    image = Image.new("RGB", (across * _SIDE, high * len(names)), "white")
    for row, name in enumerate(names):
        face = explanation.pixels[row]
        best = int(explanation.probabilities[row].argmax())
        _place(image, 0, row * high, _grey(face), name, bold=False)
        for column, label in enumerate(classes):
            text = f"{label} {explanation.probabilities[row, column]:.2f}"
            shown = _overlay(face, explanation.heat[row, column])
            _place(image, (column + 1) * _SIDE, row * high, shown, text, bold=column == best)
        for column, block in enumerate(blocks):
            text = f"block {column + 1}"
            _place(image, (column + 1) * _SIDE, row * high + high // 2, _grey(block[row] * 255), text)
    return image


def _scaled(maps: npt.NDArray[Any], low: float | None = None) -> Floats:
    """Return maps with their largest at 1, and `low`, or their smallest, at 0."""
    least = maps.min(axis=(-2, -1), keepdims=True) if low is None else low
    most = (maps - least).max(axis=(-2, -1), keepdims=True)
    return np.asarray((maps - least) / np.where(most > 0, most, 1), np.float32)


def _grey(values: Floats) -> Image.Image:
    return _large(Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert("RGB"))


def _overlay(face: Floats, heat: Floats) -> Image.Image:
    mixed = (1 - _STRENGTH) * face[..., None] + _STRENGTH * _coloured(heat)
    if not heat.any():
        mixed = np.repeat(face[..., None], 3, axis=-1)
    return _large(Image.fromarray(mixed.clip(0, 255).astype(np.uint8)))


def _coloured(heat: Floats) -> Floats:
    """Return the colours (..., 3), 0..255, of heat from 0 to 1."""
    places = heat * (len(_RAMP) - 1)
    channels = [np.interp(places, np.arange(len(_RAMP)), _RAMP[:, channel]) for channel in range(3)]
    return np.asarray(np.stack(channels, axis=-1), np.float32)


def _large(image: Image.Image) -> Image.Image:
    return image.resize((_SIDE - 4, _SIDE - 4), Image.Resampling.BICUBIC)


def _place(
    image: Image.Image, left: int, top: int, part: Image.Image, text: str, *, bold: bool = False
) -> None:
    image.paste(part, (left + 2, top + 2))
    ImageDraw.Draw(image).text(
        (left + _SIDE / 2, top + _SIDE + _LINE / 2 - 2),
        text,
        (190, 20, 20) if bold else (40, 40, 40),
        ImageFont.load_default(13),
        anchor="mm",
    )
