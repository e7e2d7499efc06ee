"""Workspaces for whole nights, on disk and in a bucket, as tests/behaviour makes them."""

from tests.behaviour.conftest import (
    fresh,
    large,
    large_template,
    published,
    pytest_collection_modifyitems,
    pytest_generate_tests,
    storage,
    template,
)

__all__ = [
    "fresh",
    "large",
    "large_template",
    "published",
    "pytest_collection_modifyitems",
    "pytest_generate_tests",
    "storage",
    "template",
]
