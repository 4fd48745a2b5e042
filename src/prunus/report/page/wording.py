"""Numbers as people read them."""


def percent(density: float) -> str:
    """A density in percent, to three figures.

    >>> percent(1), percent(0.035184), percent(0.0001234)
    ('100 %', '3.52 %', '0.0123 %')
    """
    return f"{figures(100 * density)} %"


def figures(value: float) -> str:
    """A number to three figures.

    >>> figures(3.5184)
    '3.52'
    """
    return f"{value:.3g}"


def hundredths(value: float) -> str:
    """A number to the hundredth: a test part of 10,000 gives that of a percent.

    >>> hundredths(98.2)
    '98.20'
    """
    return f"{value:.2f}"


def count(value: float) -> str:
    """A number of steps or things.

    >>> count(6233.3)
    '6,233'
    """
    return f"{value:,.0f}"


def number(value: float) -> str:
    """Any number: whole ones whole, others to four figures at least.

    >>> number(12345), number(0.00123), number(98.5), number(1234.56)
    ('12,345', '0.00123', '98.5', '1,234.6')
    """
    if value == int(value):
        return count(value)
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.1f}"


def several(many: int, thing: str) -> str:
    """So many of a thing.

    >>> several(1, "run"), several(1200, "run")
    ('1 run', '1,200 runs')
    """
    return f"{many:,} {thing}{'' if many == 1 else 's'}"


def over_replicates(many: int) -> str:
    """What lines and bands are.

    >>> over_replicates(3)
    'Lines are means over 3 replicates, bands reach from the lowest to the highest.'
    """
    if many == 1:
        return "Lines are single runs."
    return f"Lines are means over {several(many, 'replicate')}, bands reach from the lowest to the highest."
