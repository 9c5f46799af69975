"""The survey's page: page.html with its data, which loads nothing, runs only its own script and keeps the data inert.

Its policy allows the one script and the one style sheet by their hashes, so that markup which finds its way into
the page still could not run; and what comes from files (names, prompts) is put in as text by the script.
"""

import base64
import hashlib
import io
import json
import re
from pathlib import Path

from PIL import Image

from bench.survey.questions import Question, survey_id

TEMPLATE = Path(__file__).with_name("page.html")
JPEG_QUALITY = 95


def page(questions: list[Question], names: tuple[str, str], seed: int, lossless: bool = False) -> str:
    """The HTML text. Write it with line feeds only: the hashes are of the text as a browser reads it."""
    asked = [
        {
            **{"pair": question.pair, "prompt": question.prompt, "vigilance": question.vigilance},
            **{"width": question.a.width, "height": question.a.height},
            **{"a": data_uri(question.a, lossless), "b": data_uri(question.b, lossless)},
        }
        for question in questions
    ]
    data = {"survey": survey_id(questions), "names": names, "seed": seed, "questions": asked}
    template = TEMPLATE.read_text(encoding="utf-8")
    parts = {kind: _hash(re.search(f"<{kind}>(.*?)</{kind}>", template, re.DOTALL)[1]) for kind in ("script", "style")}
    parts["survey"] = embedded(data)
    return re.sub("@@([a-z]+)@@", lambda place: parts[place[1]], template)  # at once, so nothing is put into a part


def embedded(data: object) -> str:
    """JSON for a script element: no character of it can end the element or begin a comment."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def data_uri(picture: Image.Image, lossless: bool) -> str:
    """A picture coded anew: the format says nothing of its folder, and a file's metadata (workflow) stays out."""
    buffer, kind = io.BytesIO(), "png" if lossless else "jpeg"
    picture.save(buffer, kind, **({} if lossless else {"quality": JPEG_QUALITY, "subsampling": 0}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
