"""Overlays, sheets, figures, tables and HTML pages.

This is the only package that imports matplotlib and Jinja2. It takes plain arrays,
dicts and the dataclasses of `schema`, and does not depend on taxonomies, data or
models.
"""
