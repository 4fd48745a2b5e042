"""A store with a study of each kind, its page, and a browser to look at it."""

import pytest

from prunus.report.page import write_page
from prunus.store import Store

from .browser import Tab, installed, running
from .pieces import keep_charts, keep_connection, keep_table, keep_tickets


@pytest.fixture
def store(tmp_path):
    """An empty store."""
    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium for all tests; skips where none is installed."""
    program = installed()
    if program is None:
        pytest.skip("needs a Chromium or Chrome on the PATH")
    with running(program) as browser:
        yield browser


@pytest.fixture(scope="session")
def full(tmp_path_factory):
    """A store with a study of each kind."""
    store = Store(tmp_path_factory.mktemp("full") / "store")
    keep_tickets(store)
    keep_connection(store)
    keep_charts(store)
    keep_table(store)
    return store


@pytest.fixture(scope="session")
def page(full, tmp_path_factory):
    """The page about `full`."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(full, path)
    return path


@pytest.fixture(scope="module")
def shown(browser, page):
    """The page in a tall window; what is done to it has to be undone."""
    tab = Tab(browser)
    tab.look()
    tab.open(page)
    yield tab
    tab.close()


@pytest.fixture
def tab(browser):
    """An empty tab with a tall window."""
    tab = Tab(browser)
    tab.look()
    yield tab
    tab.close()
