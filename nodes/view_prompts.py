"""View Prompts: a prompt for each view, as conditioning that says to which view it belongs."""

import math
import re
from typing import NamedTuple

from comfy_api.latest import io

from ..syncdiffusion_core.canvases.rigs import Direction, Rig
from .host.conditioning.own_view import MARK
from .host.inputs import check_connected, told
from .prompts import common_widget, encoded, lines_in
from .sockets import CATEGORY
from .sockets import Rig as RigSocket
from .sphere_views import check_rig

MOST_VIEWS = 9999
TEXT = r"\s*:(?:\s+(?P<text>.*))?"
HEAD = re.compile(rf"(?:all\s+views|views?\s+(?P<numbers>\d[\d\s,-]*)){TEXT}", re.IGNORECASE)
"""Of a line that names its views; whatever else has a colon is a prompt, 'view 16:9' too."""
WORD = f"(?:{'|'.join(Direction)})"
WHERE = re.compile(rf"(?P<words>{WORD}(?:\s*,\s*{WORD})*){TEXT}", re.IGNORECASE)
"""Of a line that names directions, where there is a rig to know them by."""
SPAN = r"\s+(-?[\d.]+)\s+to\s+(-?[\d.]+)"
RANGES = re.compile(rf"(?P<spans>(?=[ae])(?:azimuth{SPAN})?(?:\s*,?\s*elevation{SPAN})?){TEXT}", re.IGNORECASE)
"""Of a line that says from where to where, in degrees."""


class ViewPrompts(io.ComfyNode):
    """CLIP and lines of text -> CONDITIONING with marks."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionViewPrompts",
            display_name="View Prompts",
            category=CATEGORY,
            description=(
                "Gives each view a prompt of its own: what the picture shows as it is, and what it shows turned; or "
                "the front, the sides and the back of an object. A line a view, in the order of the views."
            ),
            search_aliases=["prompt per view", "visual anagrams", "direction prompts", "multi-view prompt"],
            inputs=[
                io.Clip.Input("clip", tooltip="The text encoder, as for CLIP Text Encode."),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    dynamic_prompts=True,
                    default="",
                    tooltip="A prompt a line: the first for view 1, the second for view 2. A line that begins with "
                    "'view 3:', 'views 1, 4-6:' or 'all views:' is for those, and does not count. Empty lines do not "
                    "count either.",
                ),
                io.String.Input(
                    "before",
                    default="",
                    dynamic_prompts=True,
                    tooltip="Put in front of every prompt: an oil painting of. One style for all views makes "
                    "ambiguous images work. Empty for nothing.",
                ),
                common_widget(),
                RigSocket.Input(
                    "rig",
                    optional=True,
                    tooltip="From Camera Rig: then lines may begin with where the views look, 'up:', 'down:', "
                    "'horizon:', 'front, left:', 'right:' or 'back:', or from where to where in degrees, 'elevation 60 "
                    "to 90:', 'azimuth -45 to 45, elevation -30 to 30:'. Of an object: which side they show, 'front:', "
                    "'side:', 'back:', 'top:' or 'bottom:'.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="conditioning",
                    tooltip="For the positive input of View Sampler, or the negative one. Samplers that know no views "
                    "mix all the prompts.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, prompts=None):
        """Whether there is a prompt, and which views the lines name."""
        return told(lambda: None if prompts is None else lines_of(prompts))

    @classmethod
    def execute(cls, clip, prompts, before, common, rig=None) -> io.NodeOutput:
        if rig is not None:
            check_rig(rig)
        lines = lines_of(prompts, rig)
        check_connected("clip", clip, "the checkpoint may hold no text encoder: add a Load CLIP node")
        conditioning = []
        for line in lines:
            front = " ".join(filter(None, [before.strip(), line.text]))
            values = {} if line.views is None else {MARK: line.views}
            conditioning += encoded(clip, front, common, values)
        return io.NodeOutput(conditioning)


class Line(NamedTuple):
    """A prompt and the views that it is for, counted from 0; None for all."""

    text: str
    views: tuple[int, ...] | None


def lines_of(prompts: str, rig: Rig | None = None) -> list[Line]:
    """Raises ValueError where there is no prompt, or a line names views that cannot be. rig: knows directions."""
    lines, plain = [], 0
    for text in lines_in(prompts):
        head = HEAD.fullmatch(text)
        where = None if rig is None else WHERE.fullmatch(text)
        ranges = None if rig is None else RANGES.fullmatch(text)
        if where is not None:
            lines.append(Line(where["text"] or "", _towards(rig, where["words"])))
        elif ranges is not None:
            lines.append(Line(ranges["text"] or "", _between(rig, ranges)))
        elif head is None:
            lines.append(Line(text, (plain,)))
            plain += 1
        else:
            numbers = head["numbers"]
            lines.append(Line(head["text"] or "", None if numbers is None else _numbers(numbers)))
    return lines


def _towards(rig: Rig, words: str) -> tuple[int, ...]:
    """'up, left' -> the cameras that look there."""
    directions = [Direction(word.strip().lower()) for word in words.split(",")]
    views = tuple(sorted({view for direction in directions for view in rig.towards(direction)}))
    does = "shows the" if {*directions} & {Direction.TOP, Direction.BOTTOM, Direction.SIDE} else "looks"
    return _some(views, f"{does} {' or '.join(directions)}", words)


def _between(rig: Rig, ranges: re.Match) -> tuple[int, ...]:
    """'azimuth -45 to 45, elevation 30 to 90' -> the cameras that look there."""
    try:
        ends = [None if end is None else math.radians(float(end)) for end in ranges.groups()[1:5]]
    except ValueError as error:
        raise ValueError(f"prompts: '{ranges['spans']}' are no degrees; write 'elevation 30 to 90:'") from error
    azimuths, elevations = ((a, b) if a is not None else None for a, b in (ends[:2], ends[2:]))
    if elevations is not None and elevations[0] > elevations[1]:
        raise ValueError(f"prompts: '{ranges['spans']}' ends below where it begins; elevations go up, from -90 to 90")
    return _some(rig.between(azimuths, elevations), f"looks at {ranges['spans'].strip()}", ranges["spans"])


def _some(views: tuple[int, ...], what: str, head: str) -> tuple[int, ...]:
    """These views. Raises ValueError where there are none."""
    if not views:
        raise ValueError(
            f"prompts: no view of this rig {what}; leave the line '{head}:' out, or choose a rig that does"
        )
    return views


def _numbers(given: str) -> tuple[int, ...]:
    """'1, 4-6' -> (0, 3, 4, 5)."""
    views: list[int] = []
    for part in given.split(","):
        span = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        first, last = (int(span[1]), int(span[2] or span[1])) if span else (0, 0)
        if not 1 <= first <= last <= MOST_VIEWS:
            raise ValueError(
                f"prompts: views are counted from 1 to {MOST_VIEWS}, got 'views {given.strip()}'; write 'view 2:' or "
                "'views 1, 4-6:'"
            )
        views += range(first - 1, last)
    return tuple(dict.fromkeys(views))
