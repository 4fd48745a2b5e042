"""Items as the compiled loops take them."""

from typing import Any

from prunus.code.compiled import compiled_finite


@compiled_finite
def load(row: Any, values: Any, places: Any) -> Any:
    """Write the items of a row that are not zero, and their places; how many there are."""
    count = 0
    for place in range(len(row)):
        values[count] = row[place]
        places[count] = place
        count += row[place] != 0.0
    return count
