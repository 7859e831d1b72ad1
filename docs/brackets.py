"""For mkdocstrings: `[N][L]` in a docstring is a shape, not a link."""

import re
from typing import Any

import griffe


class Shapes(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"\](\s*)\[", r"]\1\\[", obj.docstring.value)
