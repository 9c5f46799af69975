"""The demo model's tokenizer and text encoder behind the host's CLIP interface."""

import logging
from collections.abc import Sequence

import torch
from comfy.sd1_clip import ClipTokenWeightEncoder, escape_important, token_weights, unescape_important
from torch import Tensor, nn

from ....demo.text_encoder import TextEncoder
from ....demo.tokenizer import PAD, START, Tokenizer
from ..progress import say

KEY = "demo"


class DemoTokenizer:
    """Words to ids with the host's prompt weights; long prompts continue in further chunks."""

    def __init__(self, vocabulary: Sequence[str], length: int) -> None:
        self._tokenizer, self._length = Tokenizer(tuple(vocabulary), length), length

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **kwargs: object) -> dict:
        """{"demo": chunks of (id, weight)}, or (id, weight, word number from 1, 0 for padding)."""
        words = [
            (token, weight)
            for part, weight in token_weights(escape_important(text), 1.0)
            for token in self._tokenizer.ids(unescape_important(part))
        ]
        self._report_unknown(text)
        numbered = [(token, weight, number) for number, (token, weight) in enumerate(words, start=1)]
        room = self._length - 1
        chunks = [self._chunk(numbered[k : k + room]) for k in range(0, max(len(numbered), 1), room)]
        if not return_word_ids:
            chunks = [[entry[:2] for entry in chunk] for chunk in chunks]
        return {KEY: chunks}

    def untokenize(self, pairs: list) -> list:
        """(entry, word) of every entry that stands for a word."""
        names = self._tokenizer.vocabulary
        first = 2  # ids of words follow padding and start
        return [(pair, names[pair[0] - first]) for pair in pairs if pair[0] >= first]

    def state_dict(self) -> dict:
        """Nothing: the vocabulary is in the checkpoint's metadata."""
        return {}

    def _chunk(self, words: list) -> list:
        padding = [(PAD, 1.0, 0)] * (self._length - 1 - len(words))
        return [(START, 1.0, 0), *words, *padding]

    def _report_unknown(self, text: str) -> None:
        plain = " ".join(part for part, _ in token_weights(escape_important(text), 1.0))
        unknown = self._tokenizer.unknown(unescape_important(plain))
        if unknown:
            message = f"the demo model does not know: {', '.join(unknown)}"
            logging.warning(message)
            say(message)


class DemoTextModel(nn.Module, ClipTokenWeightEncoder):
    """What comfy.sd.CLIP expects of a text model, around the demo's TextEncoder."""

    def __init__(self, text_config: dict, device=None, dtype=None, model_options=None) -> None:
        super().__init__()
        self.transformer = TextEncoder(text_config).to(device=device, dtype=dtype).eval().requires_grad_(False)
        self.special_tokens = {"start": START, "pad": PAD}
        self.dtypes = {dtype}
        self._device = None

    def set_clip_options(self, options: dict) -> None:
        """The host says where to run; layers cannot be chosen in a two-layer encoder."""
        self._device = options.get("execution_device", self._device)

    def reset_clip_options(self) -> None:
        """Forget what set_clip_options said."""
        self._device = None

    def encode(self, tokens: list[list[int]]) -> tuple[Tensor, None]:
        """Chunks of ids -> (hidden states [chunks, length, width] in float32, no pooled output)."""
        ids = torch.tensor(tokens, device=self._device)
        return self.transformer(ids).float(), None

    def encode_token_weights(self, token_weight_pairs: dict) -> tuple[Tensor, None]:
        """The host's entry: the encoder's part of a tokenised prompt."""
        return super().encode_token_weights(token_weight_pairs[KEY])

    def load_sd(self, state_dict: dict[str, Tensor]) -> object:
        """Load the encoder's weights; (missing, unexpected) keys."""
        return self.transformer.load_state_dict(state_dict, strict=False)
