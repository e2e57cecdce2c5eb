"""Turns other programs' model files into ONNX that mien runs."""
