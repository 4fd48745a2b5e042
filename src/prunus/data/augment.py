"""Random changes of a batch of images that keep their labels: a few whole-batch operations, no loop over
images.

Each takes raw images (B, C, H, W), bytes or floats, and a generator on their device, and fills what comes
into view with zeros (black). Equal generators give equal batches.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


@dataclass(frozen=True)
class Affine:
    """Rotation, scale, shear and sub-pixel shift in one bilinear sampling; each drawn evenly from +- its
    value.

    `rotation` is in radians, `scale` and `shear` are fractions, `shift` is in pixels.
    """

    rotation: float = 0.2
    scale: float = 0.1
    shear: float = 0.15
    shift: float = 2.0

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """(B, C, H, W) of any type to (B, C, H, W) float."""
        count, _, height, width = images.shape
        draws = torch.rand(6, count, generator=generator, device=images.device).mul_(2).sub_(1)
        angle, shear = draws[0] * self.rotation, draws[1] * self.shear
        stretch_x, stretch_y = 1 + draws[2] * self.scale, 1 + draws[3] * self.scale
        move_x, move_y = draws[4] * (2 * self.shift / width), draws[5] * (2 * self.shift / height)
        cosine, sine = angle.cos(), angle.sin()
        # From the place of a pixel in the result to the place in the image it is taken from.
        rows = (
            *(cosine * stretch_x, (shear * cosine - sine) * stretch_y, move_x),
            *(sine * stretch_x, (shear * sine + cosine) * stretch_y, move_y),
        )
        where = torch.stack(rows, dim=1).view(count, 2, 3) @ _pixels(height, width, images.device)  # (B, 2, HW)
        grid = where.view(count, 2, height, width).permute(0, 2, 3, 1)  # (B, H, W, 2)
        return F.grid_sample(images.float(), grid, align_corners=False)


@lru_cache(maxsize=8)
def _pixels(height: int, width: int, device: torch.device) -> Tensor:
    """The homogeneous coordinates of all pixel centres, image edges at -1 and 1: (3, H * W)."""
    x = (torch.arange(width, device=device) * 2 + 1) / width - 1
    y = (torch.arange(height, device=device) * 2 + 1) / height - 1
    return torch.stack([x.repeat(height), y.repeat_interleave(width), torch.ones(height * width, device=device)])


@dataclass(frozen=True)
class Shift:
    """Whole-pixel shift by up to `pixels` in each direction, and a mirror image half of the time if `mirror`.

    With 4 pixels and a mirror this is the usual augmentation of CIFAR (He et al. 2016, section 4.2).
    """

    pixels: int
    mirror: bool = False

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """(B, C, H, W) to (B, C, H, W) of the same type."""
        count, _, height, width = images.shape
        device = images.device
        windows = F.pad(images, (self.pixels,) * 4).unfold(2, height, 1).unfold(3, width, 1)
        down, right = torch.randint(2 * self.pixels + 1, (2, count), generator=generator, device=device)
        shifted = windows[torch.arange(count, device=device), :, down, right]
        if not self.mirror:
            return shifted
        mirrored = torch.rand(count, 1, 1, 1, generator=generator, device=device) < 0.5
        return torch.where(mirrored, shifted.flip(3), shifted)
