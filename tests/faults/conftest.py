"""Workspaces for whole nights, as tests/behaviour makes them."""

from tests.behaviour.conftest import fresh, large, large_template, published, template

__all__ = ["fresh", "large", "large_template", "published", "template"]
