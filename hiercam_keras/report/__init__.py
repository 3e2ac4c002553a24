"""Room of everything that is looked at: overlays, sheets, figures, tables, the page.

The only room that imports matplotlib and Jinja2. It takes plain arrays, dicts and the
dataclasses of `schema`; it knows no taxonomy, no data source and no model.
"""
