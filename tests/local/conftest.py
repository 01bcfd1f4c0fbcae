"""A real browser for the pages of a run."""

from tests.browser import browser as browser
