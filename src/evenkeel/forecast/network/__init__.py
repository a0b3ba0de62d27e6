"""A network that weighs simple forecasts against one another, with or without a recurrent memory.

`train` needs PyTorch and is imported when something is fitted; serving needs ONNX Runtime alone.
"""
