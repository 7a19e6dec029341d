from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest

from harness.base.mismatch import explain
from harness.base.structs import Strict


class Cat(Strict, frozen=True, kw_only=True, tag_field="kind", tag="cat"):
    colour: Literal["black", "white"]


class Dog(Strict, frozen=True, kw_only=True, tag_field="kind", tag="dog"):
    size: Annotated[int, msgspec.Meta(ge=1)]


class Home(Strict, frozen=True, kw_only=True):
    pets: tuple[Cat | Dog, ...] = ()
    street: str | None = None
    width: float = 1
    rooms: dict[str, Literal["warm", "cold"]] = msgspec.field(default_factory=dict)


@pytest.mark.parametrize(
    ("data", "message", "fix"),
    [
        (
            {"pets": [{"kind": "cat", "colour": "red"}]},
            "pets[0].colour: Invalid enum value 'red' (known: black, white)",
            "",
        ),
        ({"pets": [{"kind": "cow"}]}, "pets[0].kind: Invalid value 'cow' (known: cat, dog)", ""),
        ({"rooms": {"attic": "hot" * 1000}}, "(known: cold, warm)", ""),
        ({"pets": [{"kind": "dog", "tail": 1}]}, "pets[0]: Object contains unknown field `tail` (known: size)", ""),
        ({"rooms": {"attic": "hot"}}, "(known: cold, warm)", ""),
        ({"pets": [{"kind": "dog", "size": 0}]}, "pets[0].size: Expected `int` >= 1", ""),
        ({"pets": [{"kind": "dog", "size": "3"}]}, "size: Expected `int`, got `str`, '3'", "size: 3, without quotes"),
        ({"width": "0.7"}, "width: Expected `float`, got `str`, '0.7'", "width: 0.7, without quotes"),
        ({"width": "1e-9"}, "width: Expected `float`, got `str`, '1e-9'", "width: 1.0e-09, without quotes"),
        ({"width": "wide"}, "width: Expected `float`, got `str`", "correct that key"),
        ({"street": 5}, "street: Expected `str | null`, got `int`, 5", 'street: "5"'),
        ({"pets": "cat"}, "pets: Expected `array`, got `str`, 'cat'", "pets: [cat]"),
        ({"garden": 1}, "unknown field `garden` (known: pets, street, width, rooms)", ""),
        ({"rooms": {"a": "x - at `$.pets[7]`"}, "pets": []}, "(known: cold, warm)", ""),
        ({"x - at `$.pets[7]`": 1, "pets": []}, "unknown field", ""),
        ("home", "Expected `object`, got `str`, 'home' (keys: pets, street, width, rooms)", ""),
        (None, "Expected `object`, got `null`", ""),
    ],
)
def test_what_is_known_at_the_place_is_told(data: Any, message: str, fix: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(data, Home)
    said = explain(caught.value, Home, data)
    assert message in said[0]
    assert len(said[0]) < 1000
    assert fix in said[1]
