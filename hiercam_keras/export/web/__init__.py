"""A page that names photos in the browser, with an exported network inside."""
