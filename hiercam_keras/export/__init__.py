"""Networks of runs as ONNX files that compute their maps themselves.

`graph` builds and writes a file, `parity` compares it with the program. What the
exported function computes is in function.py, its conversion in convert.py.
"""
