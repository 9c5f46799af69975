"""The survey's page: one HTML file that loads nothing, runs only its own script and keeps its data inert.

The policy allows the one script and the one style sheet by their hashes, so that markup which finds its way into
the page still could not run; and what comes from files (names, prompts) is put in as text by the script.
"""

import base64
import hashlib
import io
import json
from pathlib import Path

from PIL import Image

from bench.survey.questions import Question, survey_id

FOLDER = Path(__file__).parent
JPEG_QUALITY = 95


def page(questions: list[Question], names: tuple[str, str], seed: int, lossless: bool = False) -> str:
    """The HTML text. Write it with line feeds only: the hashes are of the text as a browser reads it."""
    script, style = (_part(f"page.{kind}") for kind in ("js", "css"))
    policy = (
        f"default-src 'none'; img-src data:; script-src '{_hash(script)}'; style-src '{_hash(style)}';"
        " base-uri 'none'; form-action 'none'"
    )
    data = {
        "survey": survey_id(questions),
        "names": names,
        "seed": seed,
        "questions": [
            {
                "pair": question.pair,
                "prompt": question.prompt,
                "vigilance": question.vigilance,
                "width": question.a.width,
                "height": question.a.height,
                "a": data_uri(question.a, lossless),
                "b": data_uri(question.b, lossless),
            }
            for question in questions
        ],
    }
    parts = {"POLICY": policy, "STYLE": style, "SURVEY": embedded(data), "SCRIPT": script}
    pieces = _part("page.html").split("@@")  # text and names of parts take turns, so nothing is put into a part
    return "".join(parts[piece] if k % 2 else piece for k, piece in enumerate(pieces))


def embedded(data: object) -> str:
    """JSON for a script element: no character of it can end the element or begin a comment."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def data_uri(picture: Image.Image, lossless: bool) -> str:
    """A picture coded anew: the format says nothing of its folder, and a file's metadata (workflow) stays out."""
    buffer = io.BytesIO()
    if lossless:
        picture.save(buffer, "PNG")
    else:
        picture.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return f"data:image/{'png' if lossless else 'jpeg'};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _part(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
