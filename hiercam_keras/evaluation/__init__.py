"""Questions in, one table of measurements out.

`answers` reads the maps of many questions, from map stores or from a stream of batches;
`measures` is the registry of what is measured on a map; `table` holds the numbers, one
row for each picture and one column for each question, and makes estimates from them.
"""
