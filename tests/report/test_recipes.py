"""What the recipes leave in a store is what the page reads."""

import numpy as np
import pytest

from prunus.laboratory import Task
from prunus.recipe.connectivity import measure, twins
from prunus.recipe.lottery_ticket import Hunt, hunt_tickets
from prunus.report.page.archive import Archive, Value
from prunus.report.page.connections import connection
from prunus.report.page.tickets import tickets
from prunus.settings import Settings

TASK = Task.of("lenet-300-100", "digits", start="glorot")
SHORT = Settings(steps=20, batch=60)


def section(store, describe):
    (study,) = store.studies()
    return describe(Value(study, "the study"), Archive(store))


def column(figure, place):
    """The means in a column of a figure's table."""
    cells = (row[place].text for row in figure.tables[0].rows)
    return [float(text.split()[0].replace(",", "")) if text else None for text in cells]


def near(values, digits=2):
    """As far as a table's digits tell."""
    return pytest.approx(values, abs=0.51 * 10**-digits)


@pytest.mark.usefixtures("one_thread")
def test_a_search_for_tickets(store):
    found = hunt_tickets(Hunt(TASK, SHORT, rounds=2, seeds=(0, 1), controls=("reinit",)), store)
    accuracy, step, early, *others, _, pictures = section(store, tickets).figures
    assert column(accuracy, 1) == near([np.mean(one.accuracy) for one in found])
    assert column(accuracy, 2)[0] is None
    assert column(accuracy, 2)[1:] == near([np.mean(one.controls["reinit"]) for one in found[1:]])
    assert column(step, 1) == near([np.mean(one.early_stop_step) for one in found], digits=0)
    assert column(early, 1) == near([np.mean(one.early_stop_accuracy) for one in found])
    assert [figure.title for figure in others] == ["Validation curves"]
    assert [np.shape(plot.spec["data"][0]["z"]) for plot in pictures.plots] == [(8, 8), (8, 8)]


@pytest.mark.usefixtures("one_thread")
def test_twins_and_the_line_between_them(store):
    (found,) = measure([twins(TASK, SHORT, 10, seed=0, points=3)], store)
    instability, test, train = section(store, connection).figures
    assert column(instability, 1) == near([found.barrier])
    assert column(instability, 2) == near([found.barrier_train])
    assert column(test, 1) == near([error for _, _, error in found.path])
    assert column(train, 1) == near([error for _, error, _ in found.path])
