"""Contact sheets: what the figures are of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from bench.arms import Arm
from bench.pictures import is_whole, picture
from bench.protocol import Protocol

ROW_PX, LABEL_PX, NAMES_PX = 96, 18, 190


def contact_sheet(
    protocol: Protocol, arms: Sequence[Arm], folder: Path, count: int, row_px: int = ROW_PX
) -> Image.Image | None:
    """The first seeds that all arms of the full width have: a block a seed, an arm a line. None where there is none.

    row_px: height of a panorama on the sheet.
    """
    arms = [arm for arm in arms if arm.width_px == protocol.widths_px[0]]
    arms = [arm for arm in arms if any(picture(folder, arm, seed).exists() for seed in arm.seeds)]
    ready = (s for s in (arms[0].seeds if arms else ()) if all(is_whole(picture(folder, arm, s)) for arm in arms))
    seeds = list(islice(ready, count))
    if not seeds:
        return None
    width = NAMES_PX + round(protocol.widths_px[0] * row_px / protocol.window_px)
    block = LABEL_PX + len(arms) * row_px
    sheet = Image.new("RGB", (width, block * len(seeds)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for k, seed in enumerate(seeds):
        top = k * block
        draw.text((4, top + 2), f"seed {seed}: {protocol.prompt_of(seed)}", "black", font)
        for line, arm in enumerate(arms):
            with Image.open(picture(folder, arm, seed)) as image:
                shown = image.convert("RGB").resize((width - NAMES_PX, row_px), Image.Resampling.LANCZOS)
            sheet.paste(shown, (NAMES_PX, top + LABEL_PX + line * row_px))
            draw.text((4, top + LABEL_PX + line * row_px + row_px // 2 - 8), arm.title, "black", font)
    return sheet
