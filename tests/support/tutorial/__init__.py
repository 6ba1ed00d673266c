"""Applications for the pages of FastAPI's tutorial and of its guide for advanced users, and the questions to each.

The names of the pages are FastAPI's; the applications are our own.
"""

from tests.support.tutorial import answers, assembling, bodies, parameters
from tests.support.tutorial.page import Page

__all__ = ["PAGES", "Page"]

PAGES: dict[str, Page] = {**parameters.PAGES, **bodies.PAGES, **answers.PAGES, **assembling.PAGES}
