"""How a step reads its part of the project config."""

import json
from typing import TypeVar

from feature_repo.model import StrictModel

Section = TypeVar("Section", bound=StrictModel)


def read_section(config: str, name: str, model: type[Section]) -> Section:
    """One section of the project config.

    Args:
        config: the project config as JSON, checked when the pipeline was compiled or submitted.
        name: of the section, such as `features`.
        model: the section's type.
    """
    return model.model_validate(json.loads(config)[name])
